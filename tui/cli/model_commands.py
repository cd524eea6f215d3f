"""The commands predict and evaluate: the model of a run on other images; slow imports are inside the commands."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...core.errors import InputError
from .options import DATA, LOGS, Data, Json, Logs, RunReference, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ...core.results.evaluation import Evaluation
    from ...core.results.prediction import Predicted
    from ...core.results.trained_model import TrainedModel


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(epilog="Example: torchdeck predict @best:lenet photos --top 1 --csv")(predict)
    app.command(epilog="Example: torchdeck evaluate @last data.path=/photos/new")(evaluate)


def predict(
    reference: RunReference,
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE|DIR|-...", help="Images; - reads their names from stdin.")
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name for each image.")] = 3,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a line an image.")] = False,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Name the likeliest classes of images with the model of a run, prepared as its training images were.

    With --json each image is one object in a line. The number of images a second goes to stderr. Files that cannot be
    read are named at the end, with exit code 2.
    """
    from ...core.results.prediction import image_files, predict_files  # torch, seconds
    from ..format.values import safe

    trained = _load(logs, reference)
    names = (line.rstrip("\n") for line in sys.stdin) if paths == ["-"] else paths
    bad: list[Predicted] = []
    started, count = time.perf_counter(), 0
    writer = csv.writer(sys.stdout)
    for found in predict_files(trained, image_files(names), top):
        count += 1
        if found.problem:
            bad.append(found)
        elif as_json:
            _print_object(found)
        elif as_csv:
            writer.writerow([found.path, *(item for name, share in found.classes for item in (name, f"{share:.6f}"))])
        else:
            typer.echo(
                safe(f"{found.path}  " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.classes))
            )
    seconds = time.perf_counter() - started
    typer.echo(f"{count:,} images in {seconds:.1f} s, {count / max(1e-9, seconds):,.0f} images/s", err=True)
    if bad:
        listed = "; ".join(f"{item.path} ({item.problem})" for item in bad[:20])
        raise InputError(f"{len(bad)} of {count} images cannot be read: {listed}", "replace them, or leave them out")


def _print_object(found: Predicted) -> None:
    classes = [{"name": name, "probability": share} for name, share in found.classes]
    sys.stdout.write(json.dumps({"path": str(found.path), "classes": classes}) + "\n")


def evaluate(
    reference: RunReference,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[data.KEY=VALUE]...", help="The images, as settings of the data.")
    ] = None,
    logs: Logs = LOGS,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Evaluate the model of a run on other images of its classes, and record the figures beside the run.

    Without settings the images are the run's own test images. Of a folder without a test split all images count.
    """
    from ...core.results.evaluation import evaluate as work  # torch, seconds
    from ...core.runs.index import find_run
    from ...core.utils.generators import run_to_end
    from .output import print_table

    trained = _load(logs, reference)
    found = run_to_end(work(trained, find_run(logs, reference).folder, overrides or [], data))
    if as_json:
        return print_json(found.to_json())
    return print_table(*_evaluation_tables(found, trained.metrics))


def _evaluation_tables(found: Evaluation, own: dict[str, float]) -> Iterator[RenderableType]:
    """The figures beside those on the run's own test images, and the figures of each class."""
    from ...core.results.class_metrics import class_figures, macro
    from ...core.results.statistics import wilson
    from ..format.tables import table
    from ..format.values import count, figure, percent

    near = wilson(found.accuracy, found.images)
    rows = [
        ("images", count(found.images), ""),
        *(
            (name, figure(f"test/{name}", value), figure(f"test/{name}", own.get(f"test/{name}")))
            for name, value in (("loss", found.loss), ("accuracy", found.accuracy))
        ),
        *([("95 % interval", f"{percent(near.low)} to {percent(near.high)}", "")] if near else []),
    ]
    yield table(["", "these images", "the run's test images"], rows, right="12")
    figures = class_figures(found.confusion)
    named = [*zip(found.classes, figures, strict=True), ("macro mean", macro(figures))]
    lines = [(name, percent(f.precision), percent(f.recall), percent(f.f1), count(f.images)) for name, f in named]
    yield table(["class", "precision", "recall", "F1", "images"], lines, right="1234")


def _load(logs: Path, reference: str) -> TrainedModel:
    """The model of a run; what is not as it should be goes to stderr."""
    from ...core.results.trained_model import load_trained
    from ...core.runs.index import find_run
    from ..format.values import safe

    trained = load_trained(find_run(logs, reference).folder)
    for message in trained.passed_over:
        typer.echo(f"warning: {safe(message)}", err=True)
    return trained
