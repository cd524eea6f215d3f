"""Export to CSV: epochs and steps of runs, one line each, and predictions, one line per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..runs.layout import is_run
from ..runs.reader import load_record
from ..runs.record import RunRecord
from ..studies.model import Study
from ..utils.files import write_atomically
from .curves import METRICS, step_losses
from .predictions import matrix_of, read_predictions

Cells = Sequence[object]


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run to export; the label is empty for a single run."""

    label: str
    folder: Path


def runs_of(study: Study, logs: Path) -> list[ExportedRun]:
    """The runs of a study that have a run folder.

    Raises:
        InputError: none has.
    """
    named = [(run, logs / run.run_id) for run in study.runs if run.run_id]
    found = [ExportedRun(run.label, folder) for run, folder in named if is_run(folder)]
    if not found:
        raise InputError(f"no run of study {study.study_id} has started", "export it later")
    return found


def write_csv(runs: Sequence[ExportedRun], target: Path) -> list[Path]:
    """Write the epochs to `target`, and the loss of every step to a file beside it; returns both paths.

    Raises:
        InputError: no run has a whole epoch, or the files cannot be written.
    """
    records = with_epochs(runs)
    steps = target.with_name(f"{target.stem}-steps{target.suffix}")
    try:
        write_atomically(target, _table(_epoch_rows(records)), durable=True)
        write_atomically(steps, _table(_step_rows(records)), durable=True)
    except OSError as error:
        raise write_error(target, error) from None
    return [target, steps]


def write_predictions(folder: Path, target: Path) -> list[Path]:
    """Write the predictions of a run's best epoch: path, label and likeliest classes of each test image.

    Raises:
        InputError: the run has no predictions yet, or the file cannot be written.
        LogsError: they are damaged.
    """
    matrix = matrix_of(load_record(folder))
    if matrix is None:
        raise InputError(f"run {folder.name} has no predictions yet", "export it later")
    try:
        write_atomically(target, _table(_prediction_rows(folder, matrix[1])), durable=True)
    except OSError as error:
        raise write_error(target, error) from None
    return [target]


def _prediction_rows(folder: Path, classes: Sequence[str]) -> Iterator[Cells]:
    found = read_predictions(folder, len(classes))
    ranks = range(1, found.classes.shape[1] + 1)
    named = bool(found.names and found.names.paths)
    yield [
        "path" if named else "index",
        "label",
        *(f"{what}_{rank}" for rank in ranks for what in ("class", "probability")),
    ]
    for place, label in enumerate(found.labels):
        guesses = zip(found.classes[place], found.probabilities[place], strict=True)
        cells = (cell for guess, probability in guesses for cell in (classes[guess], f"{probability:.6g}"))
        yield [found.name(place), classes[label], *cells]


def with_epochs(runs: Sequence[ExportedRun]) -> list[tuple[ExportedRun, RunRecord]]:
    """The records of the runs that have completed an epoch.

    Raises:
        InputError: none has.
    """
    records = [(run, load_record(run.folder)) for run in runs]
    found = [(run, record) for run, record in records if record.epochs]
    if not found:
        raise InputError(f"run {runs[0].folder.name} has not completed an epoch yet", "export it later")
    return found


def write_error(target: Path, error: OSError) -> InputError:
    """The error for a file that cannot be written."""
    return InputError(f"{target} cannot be written ({error.strerror})", "choose another file with --output")


def _table(rows: Iterator[Cells]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="replace")


def _head(run: ExportedRun) -> list[object]:
    """The cells that identify the run of a line."""
    return [run.folder.name, run.label] if run.label else []


def _titles(records: Sequence[tuple[ExportedRun, RunRecord]]) -> list[str]:
    return ["run", "label"] if records[0][0].label else []


def _epoch_rows(records: Sequence[tuple[ExportedRun, RunRecord]]) -> Iterator[Cells]:
    known = {name for _, record in records for epoch in record.epochs for name in epoch.metrics}
    metrics = [name for name in METRICS if name in known]
    costs = ("images_per_second", "train_seconds", "seconds")
    yield [*_titles(records), "epoch", "step", "lr", *metrics, *costs, "best"]
    for run, record in records:
        for epoch in record.epochs:
            figures = [epoch.metrics.get(metric, "") for metric in metrics]
            figures += [getattr(epoch, cost) for cost in costs]
            yield [*_head(run), epoch.epoch, epoch.step, epoch.lr, *figures, int(epoch.best)]


def _step_rows(records: Sequence[tuple[ExportedRun, RunRecord]]) -> Iterator[Cells]:
    yield [*_titles(records), "epoch", "step", "train/loss"]
    for run, record in records:
        for epoch in record.epochs:
            losses = step_losses(epoch)
            first = epoch.step - len(losses) + 1
            for place, loss in enumerate(losses):
                yield [*_head(run), epoch.epoch, first + place, str(loss)]
