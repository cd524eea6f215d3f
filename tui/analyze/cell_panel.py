"""The selected cell of the confusion matrix in words, and the most frequent mistakes of the whole matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from ...core.results.class_metrics import Confusion
from ..charts.half_blocks import shares, shorten, worst_pairs
from ..format.values import percent, safe
from ..widgets.styled_parts import StyledParts

MAX_PAIRS = 5
MIN_NAME_WIDTH = 3
HEADING = "most frequent mistakes"


class CellPanel(StyledParts):
    """A sentence, and below it as many of the worst pairs as fit."""

    PARTS = "cell-panel"
    SCOPED_CSS = False
    DEFAULT_CSS = """
    CellPanel {
        padding: 0 1;
        border: round $chart-axis;
        border-title-color: $foreground;
        border-title-style: bold;
    }
    .-ascii CellPanel { border: ascii $chart-axis; }
    CellPanel > .cell-panel--strong { text-style: bold; }
    CellPanel > .cell-panel--quiet { color: $quiet; }
    CellPanel > .cell-panel--miss { color: $heat-miss; }
    CellPanel > .cell-panel--chosen { color: $primary; text-style: bold; }
    CellPanel:ansi > .cell-panel--miss { color: ansi_yellow; }
    CellPanel:ansi > .cell-panel--quiet { color: ansi_default; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "cell-panel--strong",
        "cell-panel--quiet",
        "cell-panel--miss",
        "cell-panel--chosen",
    }
    BORDER_TITLE = "Cell"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._names: list[str] = []
        self._pairs: list[tuple[int, int, int, float]] = []
        self._cell = (0, 0)
        self._sentence = ""

    def show(self, confusion: Confusion, class_names: Sequence[str]) -> None:
        """List the mistakes of a matrix."""
        fractions = shares(confusion)
        self._names = [safe(name) for name in class_names]
        worst = worst_pairs(confusion, MAX_PAIRS)
        self._pairs = [(true, guess, images, float(fractions[true, guess])) for true, guess, images in worst]
        self.refresh()

    def point(self, true: int, predicted: int, sentence: str) -> None:
        """Describe one cell."""
        self._cell, self._sentence = (true, predicted), safe(sentence)
        self.refresh()

    def render(self) -> Text:
        lines = self._sentence_lines()
        listed = self._pair_lines()
        spare = self.size.height - len(lines) - len(listed)
        if spare >= 1:
            lines.append(Text())
        if spare >= 2:
            lines.append(Text(HEADING if listed else "no mistakes", self._ink("quiet")))
        return Text("\n", no_wrap=True).join((lines + listed)[: max(0, self.size.height)])

    def _sentence_lines(self) -> list[Text]:
        """The sentence with its classes in bold, wrapped, but not within the percentage."""
        written = shorten(self._sentence, cell_len(self._sentence), self._ascii)
        head, bracket, share = written.rpartition(" (")
        fits = not bracket or cell_len(written) <= self.size.width
        text = Text(written if fits else f"{head}\n({share}")
        if self._names and self._cell[0] < len(self._names) and self._cell[1] < len(self._names):
            true, predicted = (self._names[index] for index in self._cell)
            for before, name in (("", true), (f"{true} predicted as ", predicted)):
                if self._sentence.startswith(before + name):
                    text.stylize(self._ink("strong"), len(before), len(before) + len(name))
        return list(text.wrap(self.app.console, max(1, self.size.width)))

    def _pair_lines(self) -> list[Text]:
        """The worst pairs in columns: rank, true class, predicted class, images, share of the true class."""
        arrow = " -> " if self._ascii else " → "
        figures = [(f"{images:,}", percent(share, 1)) for _, _, images, share in self._pairs]
        images_width, share_width = (max((len(pair[place]) for pair in figures), default=0) for place in (0, 1))
        room = (self.size.width - 3 - len(arrow) - images_width - share_width - 4) // 2
        longest = max((cell_len(self._names[index]) for pair in self._pairs for index in pair[:2]), default=0)
        width = max(MIN_NAME_WIDTH, min(longest, room))
        lines: list[Text] = []
        for rank, ((true, guess, _, _), (images, share)) in enumerate(zip(self._pairs, figures, strict=True), start=1):
            chosen = self._ink("chosen") if (true, guess) == self._cell else Style.null()
            before, after = (shorten(self._names[index], width, self._ascii) for index in (true, guess))
            line = Text(f"{rank}. ", self._ink("quiet"), no_wrap=True)
            line.append(" " * (width - cell_len(before)) + before, chosen).append(arrow, self._ink("quiet"))
            line.append(after, chosen).append(" " * (width - cell_len(after)))
            line.append(f"  {images:>{images_width}}", self._ink("miss"))
            lines.append(line.append(f"  {share:>{share_width}}", self._ink("quiet")))
        return lines
