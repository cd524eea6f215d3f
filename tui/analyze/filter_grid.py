"""The filters of a network's first convolution as images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import LogsError
from ...core.results.predictions import read_filters
from ..charts.half_blocks import filter_images
from .captioned_grid import NotedGrid

TITLE = "First-layer filters"
NONE = "this run kept no filters: its network has no convolution"


class FilterGrid(NotedGrid):
    """Each filter scaled from black to white by itself, or all of them alike."""

    BORDER_TITLE = TITLE

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._weights: NDArray[np.float32] | None = None
        self._normalize: Literal["each", "all"] = "each"

    def open(self, folder: Path) -> None:
        """Show the filters of a run, or say why there are none."""
        try:
            self._weights = read_filters(folder)
        except LogsError as error:
            self._weights = None
            self._tell(str(error))
            return
        if self._weights is None:
            self._tell(NONE)
            return
        self._draw(self._weights)

    def toggle(self) -> None:
        """Scale all filters alike instead of each, or each again."""
        self._normalize = "all" if self._normalize == "each" else "each"
        if self._weights is not None:
            self._draw(self._weights)

    def _tell(self, note: str) -> None:
        self.entitle(TITLE, "")
        self.say(note)

    def _draw(self, weights: NDArray[np.float32]) -> None:
        count, _, height, width = weights.shape
        how = "each scaled" if self._normalize == "each" else "scaled alike"
        self.entitle(TITLE, f"{count} x {height}x{width}, {how}")
        self.show(list(filter_images(weights, self._normalize)))
