"""The test images of one cell of the confusion matrix, with the classes the network finds most probable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from ...core.data.dataset import Labels, Split
from ...core.data.image_spec import Progress
from ...core.errors import TorchdeckError
from ...core.results.predictions import ImageSource, Predictions, read_images, read_predictions, source_of
from ...core.runs.record import RunRecord
from ..charts.half_blocks import CAPTION_WIDTH, SMALL_IMAGE, end_of, shorten
from ..format.values import safe
from .captioned_grid import CaptionedGrid

TITLE = "Images"
GUESSES = 3
MAX_WRONG = 200
"""The largest number of images shown as most confidently wrong."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The test images and labels of a source."""

    source: ImageSource
    labels: Labels
    split: Split


class ReadingProgress(Message):
    """Progress of the thread that reads the images."""

    def __init__(self, source: ImageSource, progress: Progress) -> None:
        super().__init__()
        self.source = source
        self.progress = progress


class Mistakes(CaptionedGrid):
    """Reads a run's images in a thread, and shows those of a cell; runs on the same images share them."""

    BORDER_TITLE = TITLE

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.indices: tuple[int, ...] = ()
        """Indices in the test split of the images shown."""
        self._names: list[str] = []
        self._cell: tuple[int, int] | None = (0, 0)
        """None for the most confidently wrong images of all cells."""
        self._not_best = ""
        self._problem = ""
        self._predictions: Predictions | None = None
        self._wanted: ImageSource | None = None
        self._loaded: Loaded | None = None

    def open(
        self, folder: Path, header: Mapping[str, Any], data: Path, class_names: Sequence[str], record: RunRecord
    ) -> None:
        """Read the predictions of a run, and its images unless they are loaded."""
        self._names = [safe(name) for name in class_names]
        self._not_best, self._problem = "", ""
        self._predictions = self._wanted = None
        try:
            self._predictions = read_predictions(folder, len(self._names))
            self._wanted = source_of(header, data)
        except TorchdeckError as error:
            self._problem = str(error)
        else:
            self._not_best = record.instead_of_best(self._predictions.epoch)
            if not self._loaded_images:
                self._read(self._wanted, self._predictions.labels)
        self._draw()

    def point(self, true: int, predicted: int) -> None:
        """Show the images of another cell."""
        self._cell = (true, predicted)
        self._draw()

    def most_wrong(self) -> None:
        """Show the images of all cells that are most confidently wrong."""
        self._cell = None
        self._draw()

    def copy_text(self) -> str:
        """The images shown as tab-separated lines: path or index, label, most probable class, probability."""
        if (predictions := self._predictions) is None or not self.indices:
            return ""
        lines = ["image\tlabel\tprediction\tprobability"]
        for index in self.indices:
            label, guess = (
                self._names[int(column[index])] for column in (predictions.labels, predictions.classes[:, 0])
            )
            lines.append(
                f"{safe(predictions.name(index))}\t{label}\t{guess}\t{predictions.probabilities[index, 0]:.4f}"
            )
        return "\n".join(lines) + "\n"

    # Reading

    @property
    def _loaded_images(self) -> Loaded | None:
        """The loaded images, if they are those of the open run."""
        loaded, predictions = self._loaded, self._predictions
        if loaded is None or predictions is None or loaded.source != self._wanted:
            return None
        return loaded if np.array_equal(loaded.labels, predictions.labels) else None

    def _read(self, source: ImageSource, labels: Labels) -> None:
        self._problem = f"reading {source.options.name} ..."
        read = partial(self._reading, source, labels)
        self.run_worker(read, group="images", thread=True, exit_on_error=False, exclusive=True)

    def _reading(self, source: ImageSource, labels: Labels) -> Loaded | None:
        """Read the images, in a thread; None if the worker was cancelled."""
        worker, steps = get_current_worker(), read_images(source, labels)
        while not worker.is_cancelled:
            try:
                self.post_message(ReadingProgress(source, next(steps)))
            except StopIteration as done:
                return Loaded(source, labels, done.value)
        return None

    def on_reading_progress(self, message: ReadingProgress) -> None:
        """Show the progress."""
        message.stop()
        done, total = message.progress.done, message.progress.total
        if message.source == self._wanted and self._problem and not self._loaded_images and done is not None and total:
            self._problem = f"{message.progress.message}: {done:,} of {total:,} ..."
            self._draw()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Take the loaded images, or show the error."""
        event.stop()
        match event.state:
            case WorkerState.SUCCESS if isinstance(event.worker.result, Loaded):
                self._loaded, self._problem = event.worker.result, ""
            case WorkerState.ERROR:
                self._problem = str(event.worker.error)
            case _:
                return
        self._draw()

    # Showing

    def _draw(self) -> None:
        self.indices = ()
        self._head()
        loaded, predictions = self._loaded_images, self._predictions
        if self._problem or loaded is None or predictions is None:
            self.show_note(self._problem)
            return
        chosen = predictions.of_cell(*self._cell) if self._cell else predictions.mistakes()[:MAX_WRONG]
        if not len(chosen):
            correct = self._cell and self._cell[0] == self._cell[1]
            self.show_note("no image was predicted correctly" if correct else "no images in this cell")
            return
        self.indices = tuple(chosen.tolist())
        images = loaded.split.take(chosen)
        self.show(list(images), [self._caption(predictions, index, images.shape[-1]) for index in self.indices])

    def _head(self) -> None:
        if self._cell is None:
            self._set_detail("most confidently wrong: is the label right?")
            return
        if not self._names or max(self._cell) >= len(self._names):
            return
        true, predicted = (self._names[index] for index in self._cell)
        correct = self._cell[0] == self._cell[1]
        outcome = f"{true} predicted correctly" if correct else f"{true} predicted as {predicted}"
        self._set_detail(outcome)

    def _set_detail(self, detail: str) -> None:
        self.set_title(TITLE, f"{self._not_best} · {detail}" if self._not_best else detail)

    def _caption(self, predictions: Predictions, index: int, side: int) -> str:
        """The most probable classes of an image with this side and its path; names are cut, percentages are not."""
        width, ascii_only = max(CAPTION_WIDTH, min(side, SMALL_IMAGE)), self.app.has_class("-ascii")
        lines: list[str] = []
        for guess, probability in zip(predictions.classes[index], predictions.probabilities[index], strict=True):
            text = f" {100 * probability:.0f} %" if np.isfinite(probability) else " -"
            lines.append(shorten(self._names[int(guess)], width - len(text), ascii_only) + text)
        if self._cell is None:
            lines[1:] = [shorten(f"not {self._names[int(predictions.labels[index])]}", width, ascii_only)]
        named = predictions.names is not None and predictions.names.paths
        return "\n".join(
            [*lines[:GUESSES], *([end_of(safe(predictions.name(index)), width, ascii_only)] if named else [])]
        )
