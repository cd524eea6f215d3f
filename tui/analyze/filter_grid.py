"""The filters of a network's first convolution as images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import LogsError
from ...core.results.predictions import read_filters
from ...core.runs.record import RunRecord
from ..charts.half_blocks import filter_images
from .captioned_grid import CaptionedGrid

TITLE = "First-layer filters"
NONE = "no filters: this network has no convolution"


class FilterGrid(CaptionedGrid):
    """Each filter scaled from black to white on its own scale, or all on a shared one."""

    BORDER_TITLE = TITLE

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._weights: NDArray[np.float32] | None = None
        self._not_best = ""
        self._normalize: Literal["each", "all"] = "each"

    def open(self, folder: Path, record: RunRecord) -> None:
        """Show the filters of a run, or why there are none."""
        self._weights, self._not_best = None, ""
        try:
            found = read_filters(folder)
        except LogsError as error:
            self._show_reason(str(error))
            return
        if found is None:
            self._show_reason(NONE)
            return
        self._weights, self._not_best = found.weights, record.instead_of_best(found.epoch)
        self._draw(found.weights)

    def toggle(self) -> None:
        """Toggle between own scales and a shared scale."""
        self._normalize = "all" if self._normalize == "each" else "each"
        if self._weights is not None:
            self._draw(self._weights)

    def _show_reason(self, note: str) -> None:
        self.set_title(TITLE, "")
        self.show_note(note)

    def _draw(self, weights: NDArray[np.float32]) -> None:
        count, _, height, width = weights.shape
        scale = "own scale" if self._normalize == "each" else "shared scale"
        if self._not_best:
            self.set_title("Filters", self._not_best)
        else:
            self.set_title(TITLE, f"{count} x {height}x{width}, {scale}")
        self.show(list(filter_images(weights, self._normalize)))
