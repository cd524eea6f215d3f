"""The earlier runs of a preset: their curves and best accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from ...core.runs.index import RunRow
from ...core.runs.record import RunRecord
from ..charts.run_series import run_line
from ..format.values import percent, safe
from ..widgets.chart import Chart

LETTERS = "abcdef"


class EarlierRuns(Vertical):
    """A chart above a list."""

    MAX_RUNS: ClassVar[int] = len(LETTERS)

    def compose(self) -> ComposeResult:
        yield Chart("Earlier runs", percent=True, id="earlier-chart")
        yield Static("", id="earlier-list", markup=False)

    def show(self, runs: Sequence[tuple[RunRow, RunRecord]]) -> None:
        """Show runs, newest last."""
        lettered = list(zip(LETTERS, runs, strict=False))
        lines = [run_line(record, letter, ink) for ink, (letter, (_, record)) in enumerate(lettered)]
        self.query_one(Chart).show(lines, x_unit="epoch")
        listed = [
            f"{letter}  {row.id[-4:]}  {safe(row.name)[:24]:24}  {percent(row.figure('test/accuracy'))}"
            for letter, (row, _) in lettered
        ]
        self.query_one("#earlier-list", Static).update("\n".join(listed) or "none yet")
