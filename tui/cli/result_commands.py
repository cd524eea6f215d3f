"""The commands study-result, report and export; slow imports are inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...core.errors import InputError
from .options import LOGS, Ascii, EitherReference, Json, Logs, StudyReference, print_json

WIDE = 120
"""Width in cells from which a table has all columns; charts are never wider."""

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ...core.results.study_result import StudyResult


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("study-result", epilog="Example: torchdeck study-result lenet-batch-size")(study_result)
    app.command(epilog="Example: torchdeck report @best:lenet --to lenet.html")(report)
    app.command(epilog="Example: torchdeck export @best:lenet --to torchscript --output lenet.pt")(export)


def study_result(
    reference: StudyReference, logs: Logs = LOGS, ascii_only: Ascii = False, as_json: Json = False
) -> None:
    """Show a study's results: its runs as a table, reported and reached figures, and charts."""
    from ...core.results.study_result import result_of  # numpy and pydantic, 0.4 s
    from ...core.studies.store import find_study, load_study
    from ...presets import full_run

    result = result_of(load_study(find_study(logs, reference)), logs, full_run)
    if as_json:
        return print_json(result.to_json())
    return _print_result(result, ascii_only)


def _print_result(result: StudyResult, ascii_only: bool) -> None:
    from rich.console import Console, Group
    from rich.text import Text

    from ...core.results.chart_data import panels
    from ..charts.study_charts import chart_text
    from ..format.values import safe
    from ..summaries.study_tables import tables
    from .output import grid_parts, print_table

    console = Console()
    plain = ascii_only or not (sys.stdout.encoding or "").lower().startswith("utf")
    colors = console.is_terminal and not console.no_color
    width = min(console.width, WIDE)
    study = result.study
    head = Text(safe(study.title), "bold").append(f"  {safe(study.study_id)}", "dim")
    parts: list[RenderableType] = [head, *([Text(safe(study.summary))] if study.summary else [])]
    parts += [Text(f"reported: {safe(words)}") for words in study.reported]
    narrow = console.is_terminal and console.width < WIDE
    parts += [part for grid in tables(result, narrow) for part in ("", *grid_parts(grid))]
    for panel in panels(result):
        for figure in panel.figures:
            parts += ["", chart_text(figure, width, colors=colors, ascii_only=plain)]
    print_table(Group(*parts))


def report(
    reference: EitherReference,
    to: Annotated[Path, typer.Option("--to", help="The file to write: FILE.html, or FILE.md with FILE-figures/.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Write a report on a run or a study: a self-contained HTML file, or Markdown with figures."""
    from ...core.studies.store import find_either

    if to.suffix not in (".html", ".md"):
        raise InputError(f"a report cannot be written as '{to.name}'", "name a file that ends in .html or .md")
    found = find_either(logs, reference)
    from ..report.write import write_report  # matplotlib, 0.8 s

    files = write_report(found, logs, to, force)
    print_json({"files": [str(path) for path in files]}) if as_json else typer.echo(to)


Form = Literal["onnx", "pt2", "torchscript", "safetensors", "csv", "tensorboard", "predictions"]


def export(
    reference: EitherReference,
    to: Annotated[Form, typer.Option(help="The format.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file or folder to write; by default named after the run.")
    ] = None,
    from_bytes: Annotated[
        bool, typer.Option("--from-bytes", help="onnx, pt2, torchscript: take uint8 images, and give probabilities.")
    ] = False,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Export the best model, the metrics of every epoch and step, or every prediction, for other programs.

    onnx, pt2 (torch.export) and torchscript (deprecated by PyTorch) take pixels from 0 to 1, normalise them, and give
    logits, for any number of images; classes, preprocessing and metrics are in their metadata. Each is loaded again and
    compared with the run's model first. csv writes a file of epochs and a
    second one with the loss of every step; tensorboard writes a folder of event files. predictions is a CSV file with
    a line for each test image: its path, its label and the most probable classes at the best epoch. For a study, csv
    and tensorboard contain all runs.
    """
    from ...core.runs.index import RunRow
    from ...core.studies.store import find_either

    found = find_either(logs, reference)
    name, difference = found.id if isinstance(found, RunRow) else found.study_id, None
    if to not in ("csv", "tensorboard") and not isinstance(found, RunRow):
        what = "predictions to export" if to == "predictions" else f"weights to export as {to}"
        raise InputError(f"a study has no {what}", "name one of its runs, or use csv")
    if to == "predictions":
        from ...core.results.csv_export import write_predictions

        files = write_predictions(logs / name, output or Path(f"{name}-predictions.csv"))
    elif to in ("onnx", "pt2", "torchscript", "safetensors"):
        from ...core.results.model_export import SUFFIXES  # torch, seconds
        from ...core.results.model_export import export as write
        from ..format.values import safe

        files = [output or Path(f"{name}.{SUFFIXES[to]}")]
        done = write(logs / name, to, files[0], whole=from_bytes)
        for message in done.passed_over:
            typer.echo(f"warning: {safe(message)}", err=True)
        if (difference := done.difference) is not None:
            typer.echo(f"loaded again: its outputs differ from the run's by at most {difference:.1g}", err=True)
    else:
        from ...core.results.csv_export import ExportedRun, runs_of, write_csv
        from ...core.results.tensorboard_export import write_events

        target = output or Path(f"{name}.csv" if to == "csv" else f"{name}-tensorboard")
        runs = [ExportedRun("", found.folder)] if isinstance(found, RunRow) else runs_of(found, logs)
        files = (write_csv if to == "csv" else write_events)(runs, target)
    checked = {} if difference is None else {"difference": difference}
    content = {"run": name, "form": to, "file": str(files[0]), "files": [str(path) for path in files], **checked}
    print_json(content) if as_json else typer.echo("\n".join(map(str, files)))
