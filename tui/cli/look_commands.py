"""The commands that look into runs: the time to an accuracy, and the confusion matrix."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ...core.errors import InputError
from .options import LOGS, Json, Logs, RunReference, RunReferences, print_json

MAX_CLASSES = 20
"""With more classes a matrix does not fit into a terminal, and only the pairs are listed."""


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: torchdeck time @best:lenet @last --to 60%")(time)
    app.command(epilog="Example: torchdeck confusion @best:lenet --top 5")(confusion)


def time(
    references: RunReferences,
    to: Annotated[str, typer.Option(help="Only the time to this test accuracy, such as 60%.")] = "",
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Show when runs first reached each percent of test accuracy: epoch, training time and energy.

    Training time is without evaluation, as in `show`.
    """
    from ...core.runs.index import find_run
    from ...core.runs.milestones import milestones, time_to
    from ...core.runs.reader import load_record
    from ..format.tables import table
    from ..format.values import duration, parse_accuracy
    from .output import print_table

    percent = round(100 * parse_accuracy(to), 6) if to else None
    found = {row.id: milestones(load_record(row.folder).epochs) for row in (find_run(logs, ref) for ref in references)}
    chosen = {
        run_id: (reached if percent is None else tuple(filter(None, [time_to(percent, reached)])))
        for run_id, reached in found.items()
    }
    if as_json:
        return print_json({run_id: [asdict(item) for item in reached] for run_id, reached in chosen.items()})
    rows = [
        (run_id, f"{item.percent} %", item.epoch, duration(item.train_seconds), _energy(item.energy))
        for run_id, reached in chosen.items()
        for item in reached
    ]
    missed = [
        (run_id, "not reached" if to else "-", "-", "-", "-") for run_id, reached in chosen.items() if not reached
    ]
    return print_table(
        table(["run", "test accuracy", "epoch", "training time", "energy"], [*rows, *missed], right="1234")
    )


def _energy(joules: float | None) -> str:
    return "-" if joules is None else f"{joules / 1000:,.1f} kJ"


def confusion(
    reference: RunReference,
    top: Annotated[int, typer.Option(min=0, help="How many of the most frequent confusions to list.")] = 10,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Show the confusion matrix of a run's best epoch (rows: true class), and the most frequent confusions."""
    from ...core.results.class_metrics import confused_pairs
    from ...core.runs.index import find_run
    from ...core.runs.reader import load_record
    from ..format.tables import table
    from ..format.values import count, percent, safe
    from .output import print_table

    row = find_run(logs, reference)
    record = load_record(row.folder)
    seen, started = record.best_confusion, record.started
    if seen is None or started is None:
        raise InputError(f"run {row.id} has no confusion matrix", "it is recorded at the end of the first epoch")
    names = started.class_names if len(started.class_names) == len(seen.confusion) else range(len(seen.confusion))
    classes = [safe(name) for name in names]
    if as_json:
        return print_json({"run": row.id, "epoch": seen.epoch, "classes": classes, "confusion": seen.confusion})
    pairs = [
        (classes[true], classes[taken], count(images), percent(images / sum(seen.confusion[true]), 1))
        for true, taken, images in confused_pairs(seen.confusion)[:top]
    ]
    matrix = [(name, *map(count, line)) for name, line in zip(classes, seen.confusion, strict=True)]
    parts = [
        table(["true \\ predicted", *classes], matrix, f"{row.id}, epoch {seen.epoch}", set(map(str, range(1, 99))))
    ]
    listed = table(["true class", "predicted", "images", "of the class"], pairs, "Most frequent confusions", "23")
    return print_table(*(parts if len(classes) <= MAX_CLASSES else []), *([listed] if pairs else []))
