"""Texts of the Analyze page: what it copies, the title of a run, and why a run has no matrix."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.results.class_metrics import ClassFigures, Confusion, class_figures, macro
from ...core.runs.record import READING, RunRecord
from ..format.values import safe

NO_RUNS = (
    "No run has a confusion matrix yet.\n\n"
    "Train one in Setup (1): each evaluation makes a\nconfusion matrix, the best epoch's is kept."
)
OTHERS = "Press [ or ] for another run."


def tab_separated(confusion: Confusion, class_names: Sequence[str]) -> str:
    """The metrics of each class, and below them the matrix, as tab-separated text."""
    names = [safe(name) for name in class_names]
    figures = class_figures(confusion)
    lines = ["class\tprecision\trecall\tF1\timages"]
    lines += [_figures(name, of) for name, of in zip(names, figures, strict=True)]
    lines += [_figures("mean", macro(figures)), "", "\t".join(["true \\ predicted", *names])]
    lines += ["\t".join([name, *map(str, row)]) for name, row in zip(names, confusion, strict=True)]
    return "\n".join(lines) + "\n"


def _figures(name: str, of: ClassFigures) -> str:
    cells = ("-" if value is None else f"{value:.6f}" for value in (of.precision, of.recall, of.f1))
    return "\t".join([name, *cells, str(of.images)])


def label_of(run_id: str, record: RunRecord) -> str:
    """A run's title: its name, its id, and the epoch that is shown."""
    started, best = record.started, record.best
    words = [started.name if started else "", run_id, f"epoch {best.epoch}" if best else ""]
    words.append("(running)" if record.status in ("running", "paused") else "")
    return " ".join(word for word in words if word)


def why_no_matrix(run_id: str, record: RunRecord) -> str:
    """Why a run has no matrix, and what to do."""
    run = safe(run_id)
    if record.status == READING:
        return f"{run}\n\n{record.stage}"
    if record.best_confusion is not None:
        return f"The confusion matrix of {run} is damaged.\n\n{OTHERS}"
    if record.status in ("preparing", "running", "paused"):
        return f"{run} has no confusion matrix yet.\n\nIt is made at the end of the first epoch; watch it in Live (2)."
    ended = record.status if record.status in ("failed", "stopped", "died") else "ended"
    reason = f"\n{safe(record.reason)}" if record.reason else ""
    return f"{run} {ended} before its first evaluation:\nit has no confusion matrix.\n{reason}\n\n{OTHERS}"
