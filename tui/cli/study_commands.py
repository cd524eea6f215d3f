"""The commands of studies: list, start, resume, show, stop and retry."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...core.errors import InputError
from .options import LOGS, Json, Logs, Overrides, PresetName, print_json
from .study_options import StudyArguments, with_study_arguments

if TYPE_CHECKING:
    from ...core.studies.executor import StudyOptions
    from ...core.studies.model import Study

study_app = typer.Typer()


def _study_names(incomplete: str) -> Iterator[str]:
    from ...presets.study_presets import study_names  # pydantic, 0.2 s

    yield from (name for name in [*study_names(), *_study_ids("")] if name.startswith(incomplete))


def _study_ids(incomplete: str) -> Iterator[str]:
    logs = Path(os.environ.get("TORCHDECK_LOGS", "logs"))
    yield from sorted(path.parent.name for path in logs.glob(f"{incomplete}*/study.json"))


StudyReference = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="An id, a unique prefix, its last four characters, or @last.", autocompletion=_study_ids
    ),
]


@study_app.command(epilog="Example: torchdeck studies --json | jq -r '.declared[].name'")
def studies(logs: Logs = LOGS, as_json: Json = False) -> None:
    """List the studies that are ready to run, and those in the logs with their progress."""
    from ...core.errors import LogsError
    from ...core.studies.store import load_study, status_of, study_folders
    from ...presets.study_presets import load_declaration, study_names
    from ..format.tables import table
    from ..summaries.study_text import summary_of
    from .output import print_table

    declared = [load_declaration(name) for name in study_names()]
    made: list[tuple[str, str, str]] = []
    for folder in study_folders(logs):
        try:
            study = load_study(folder)
            made.append((folder.name, status_of(folder, study), summary_of(study)))
        except LogsError as error:
            made.append((folder.name, "unreadable", error.message))
    if as_json:
        ready = [{"name": s.name, "title": s.title, "summary": s.summary, "runs": s.planned} for s in declared]
        return print_json(
            {"declared": ready, "made": [dict(zip(("id", "status", "progress"), row, strict=True)) for row in made]}
        )
    print_table(
        table(["study", "runs", "title", "summary"], [(s.name, s.planned, s.title, s.summary) for s in declared])
    )
    if made:
        print_table(table(["in the logs", "status", "progress"], made))
    return None


@study_app.command(epilog="Example: torchdeck study lenet-batch-size --devices cpu:2 --budget 2h")
@with_study_arguments
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE|STUDY",
            help="A ready study's name, a TOML file, or a study in the logs.",
            autocompletion=_study_names,
        ),
    ],
    overrides: Overrides = None,
    *,
    arguments: StudyArguments,
) -> None:
    """Start or resume a study; finished runs are not repeated.

    Ctrl-C stops its runs with checkpoints; the same command resumes them.
    """
    from ...core.studies.store import find_study, id_matches, study_folders
    from ...presets.study_presets import load_declaration, study_names

    options = arguments.study_options()
    is_file = name.endswith(".toml") or "/" in name
    known = name == "@last" or any(id_matches(folder.name, name) for folder in study_folders(arguments.logs))
    if known and name not in study_names() and not is_file:
        if overrides:
            raise InputError(
                f"study {name} exists, its settings cannot change", "leave the settings out, or start another study"
            )
        folder = find_study(arguments.logs, name)
    else:
        folder = _create(arguments, load_declaration(name, overrides or []))
    _follow(folder, options, arguments.as_json)


@study_app.command(epilog="Example: torchdeck sweep lenet optimizer.lr=0.1,0.05 training.batch_size=64,128")
@with_study_arguments
def sweep(
    name: PresetName,
    settings: Annotated[
        list[str],
        typer.Argument(metavar="SECTION.KEY=V1,V2...", help="Settings; those with several values are varied."),
    ],
    *,
    arguments: StudyArguments,
) -> None:
    """Run a preset with every combination of the given values, as a study."""
    from ... import presets as store
    from ...presets.study_presets import grid_study

    options = arguments.study_options()
    folder = _create(arguments, grid_study(store.load(name), settings))
    _follow(folder, options, arguments.as_json)


@study_app.command(epilog="Example: torchdeck search lenet optimizer.lr='log(1e-4,1e-1)' --trials 20 --devices cpu:2")
@with_study_arguments
def search(
    name: PresetName,
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="SECTION.KEY=RANGE...",
            help="log(1e-4,1e-1), uniform(0.8,0.99), int(1,4) or choice(32,64); a plain value is fixed for all trials.",
        ),
    ],
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="Number of trials.")] = 20,
    pruner: Annotated[
        Literal["median", "hyperband", "none"], typer.Option(help="How to stop unpromising trials early.")
    ] = "median",
    sampler: Annotated[Literal["tpe", "random"], typer.Option(help="How to choose the next settings.")] = "tpe",
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Seed of the sampler; reproducible with one device.")] = 1,
    *,
    arguments: StudyArguments,
) -> None:
    """Search for the settings of a preset with the best test accuracy, as a study."""
    from ... import presets as store
    from ...presets.study_presets import search_study

    options = arguments.study_options()
    folder = _create(arguments, search_study(store.load(name), settings, trials, pruner, sampler, seed))
    _follow(folder, options, arguments.as_json)


def _create(arguments: StudyArguments, wanted: Study) -> Path:
    """The folder of the study that the same request created before, else of a new one."""
    from ...core.studies.store import create_study, find_or_create

    return (create_study if arguments.new else find_or_create)(arguments.logs, wanted, time.time())


def _follow(folder: Path, options: StudyOptions, as_json: bool) -> None:
    """Run a study to its end, and exit with its exit code."""
    from rich.console import Console

    from ...core.control import Control
    from ...core.studies.events import study_event_json
    from ...core.studies.run_study import run_study
    from .headless import JsonLines, drive, print_last
    from .study_progress import StudyLines, StudyTable, study_exit_code

    control, console, logs = Control(), Console(stderr=True), folder.parent
    seen = StudyTable(console, logs) if console.is_terminal else StudyLines(logs)
    front_end = JsonLines(study_event_json) if as_json else seen
    code = drive(run_study(folder, control, options=options), control, front_end, study_exit_code)
    if code in (0, 1) and not as_json:
        print_last(lambda: _print_ranking(folder), code)
    raise typer.Exit(code)


def _print_ranking(folder: Path) -> None:
    """The runs of an ended study, the best first, and on stderr what to do next."""
    from ...core.results.study_result import result_of
    from ...core.studies.store import load_study
    from ...presets import names as preset_names
    from ..summaries.run_command import run_command
    from ..summaries.study_tables import ranking_table
    from .output import grid_parts, print_table

    result = result_of(load_study(folder), folder.parent)
    if not (best := result.best):
        return
    print_table(*grid_parts(ranking_table(result)))
    typer.echo(f"charts and tests with: torchdeck study-result {folder.name[-4:]}", err=True)
    if best.preset in preset_names():
        typer.echo(f"the best run again with: {run_command(best)}", err=True)


@study_app.command("study-status", epilog="Example: torchdeck study-status @last")
def study_status(reference: StudyReference, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Show a study's progress: every run with its state, epochs and best test accuracy."""
    from ...core.studies.store import find_study, load_study, status_of
    from ..format.values import safe
    from ..summaries.study_text import summary_of
    from .output import print_table
    from .study_progress import recorded_progress, study_table

    folder = find_study(logs, reference)
    found = load_study(folder)
    status = status_of(folder, found)
    progress = recorded_progress(found.runs, logs)
    if as_json:
        return print_json(_status_json(found, status, progress))
    typer.echo(f"{found.study_id}  {safe(found.title)}\n{status}: {summary_of(found)}")
    print_table(study_table(found, progress))
    if found.search and found.search.importance:
        shares = ", ".join(f"{path} {share:.0%}" for path, share in found.search.importance.items())
        typer.echo(f"importance: {safe(shares)}")
    return None


def _status_json(found: Study, status: str, progress: dict[int, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from ...core.studies.events import counts_json, run_json

    runs = [{**run_json(run), **(asdict(progress[run.number]) if run.number in progress else {})} for run in found.runs]
    about = {"title": found.title, "kind": found.kind, "varied": list(found.varied), "status": status}
    importance = dict(found.search.importance) if found.search and found.search.importance else None
    return {**counts_json(found), **about, "importance": importance, "table": runs}


RunNumber = Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="The run's number in the study's table.")]


@study_app.command("study-stop", epilog="Example: torchdeck study-stop @last")
def study_stop(
    reference: StudyReference,
    number: Annotated[
        int | None,
        typer.Argument(metavar="[NUMBER]", min=0, help="Stop only this run, until study-retry."),
    ] = None,
    logs: Logs = LOGS,
) -> None:
    """Stop the runs of a study with checkpoints, whatever processes train them; `torchdeck study STUDY` resumes."""
    from ...core.studies.coordinators import request_stop
    from ...core.studies.ledger import hold_run
    from ...core.studies.store import find_study

    folder = find_study(logs, reference)
    if number is None:
        request_stop(folder)
        typer.echo(f"study {folder.name} stops after the current batches", err=True)
        return
    run = hold_run(folder, number)
    outcome = "stops after the current batch" if run.state == "running" else "is skipped"
    hint = f"torchdeck study-retry {folder.name} {number}"
    typer.echo(f"run {number} of study {folder.name} {outcome}; retry it with: {hint}", err=True)


@study_app.command("study-retry", epilog="Example: torchdeck study-retry @last 3")
def study_retry(reference: StudyReference, number: RunNumber, logs: Logs = LOGS) -> None:
    """Retry a failed or stopped run of a study, also while the study is running."""
    from ...core.studies.coordinators import active_coordinators
    from ...core.studies.ledger import retry_run
    from ...core.studies.store import find_study

    folder = find_study(logs, reference)
    retry_run(folder, number)
    when = "soon" if active_coordinators(folder) else f"with: torchdeck study {folder.name}"
    typer.echo(f"run {number} of study {folder.name} is retried {when}", err=True)
