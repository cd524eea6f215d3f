"""The commands `torchdeck ...`; slow imports are inside the commands, since torch alone takes seconds."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from ...core.errors import ConfigError, TorchdeckError, explained
from ...core.utils.gc_tuning import collect_rarely
from .command_groups import arrange
from .data_commands import data_app
from .foreground import in_foreground
from .look_commands import register as register_looks
from .manage_commands import register as register_management
from .model_commands import register as register_models
from .options import (
    DATA,
    LOGS,
    Ascii,
    Data,
    Detach,
    Devices,
    DistTimeout,
    Json,
    Logs,
    OnHangup,
    Overrides,
    PresetName,
    RefreshOption,
    Retries,
    RunReference,
    print_json,
)
from .result_commands import register as register_results
from .run_commands import register as register_runs
from .run_commands import report_start
from .slurm_command import register as register_sbatch
from .study_commands import study_app

if TYPE_CHECKING:
    from ...core.api import SessionContext
    from ...core.control import Control
    from ...core.events import RunEvent

app = typer.Typer(
    help="Train image classifiers in the terminal: watch, compare and analyze every run.",
    epilog="Example: torchdeck run quickstart",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
register_runs(app)
register_results(app)
register_models(app)
register_management(app)
register_looks(app)
register_sbatch(app)
app.add_typer(data_app)
app.registered_commands += study_app.registered_commands


@app.command(epilog="Example: torchdeck tui --logs logs/reference")
def tui(
    logs: Logs = LOGS,
    data: Data = DATA,
    page: Annotated[
        Literal["setup", "live", "runs", "compare", "analyze"], typer.Option(help="The page to open with.")
    ] = "setup",
    refresh: RefreshOption = "auto",
    ascii_only: Ascii = False,
    on_hangup: OnHangup = "hand-over",
) -> None:
    """Open the app: set up, watch, review, compare and analyze runs. `torchdeck` alone does the same."""
    # Garbage collection during imports takes a tenth of the time to the first frame; the app turns it on again.
    gc.disable()
    from ..app.start import open_app  # textual, 0.2 s

    raise typer.Exit(open_app(logs, data, refresh, ascii_only, page, on_hangup=on_hangup))


@app.command(epilog="Example: torchdeck serve --port 8000")
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    logs: Logs = LOGS,
    data: Data = DATA,
) -> None:
    """Serve the app to a browser on this machine only (from another machine, use ssh -L)."""
    from ..app.start import serve_app

    serve_app(port, logs, data)


@app.command(epilog="Example: torchdeck presets --json | jq -r '.[].name'")
def presets(as_json: Json = False) -> None:
    """List the presets: experiments that are ready to run."""
    from ... import presets as store  # pydantic, 0.2 s
    from ..format.tables import presets_table
    from .output import print_table

    found, damaged = store.load_all()
    for error in damaged:
        _print_error(error)
    if as_json:
        return print_json([{"name": item.name, "title": item.title, "summary": item.summary} for item in found])
    return print_table(presets_table(found))


@app.command(epilog="Example: torchdeck preset lenet")
def preset(name: PresetName, as_json: Json = False) -> None:
    """Show a preset: its settings with notes, and the results reported for it."""
    from dataclasses import asdict

    from ... import presets as store
    from ...core.config import to_plain
    from ..format.tables import preset_page
    from .output import print_table

    item = store.load(name)
    if as_json:
        about = {"name": item.name, "title": item.title, "summary": item.summary, "notes": item.notes}
        return print_json({**about, "reported": [asdict(f) for f in item.reported], "config": to_plain(item.config)})
    return print_table(preset_page(item))


@app.command(epilog="Example: torchdeck settings optimizer")
def settings(
    section: Annotated[str, typer.Argument(help="data, model, optimizer, schedule or training; by default all.")] = "",
    as_json: Json = False,
) -> None:
    """List all settings with their defaults, bounds and meaning."""
    from ...core.settings import settings_of
    from ..format.tables import setting_json, settings_table
    from .output import print_table

    found = settings_of(section)
    return print_json(list(map(setting_json, found))) if as_json else print_table(settings_table(found))


@app.command(epilog="Example: torchdeck run lenet optimizer.lr=0.01 training.epochs=20 --tag try")
def run(
    name: PresetName,
    overrides: Overrides = None,
    run_name: Annotated[str, typer.Option("--name", help="A name for the run.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag for the run; may be repeated.")] = None,
    logs: Logs = LOGS,
    data: Data = DATA,
    devices: Devices = "",
    from_: Annotated[
        str, typer.Option("--from", metavar="RUN|FILE", help="Start from the weights of a run, or of a file.")
    ] = "",
    dist_timeout: DistTimeout = 600.0,
    retries: Retries = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the settings and show the plan, without training.")
    ] = False,
    detach: Detach = False,
    on_hangup: OnHangup = "hand-over",
    as_json: Json = False,
) -> None:
    """Train a preset; progress goes to stderr, results to stdout.

    Ctrl-C stops the run with a checkpoint; `torchdeck resume` continues it. With --detach, the command prints the
    run's id and returns. If the terminal is lost, training continues in a background process.
    """
    from ... import presets as store
    from ...core.config import ranks_of
    from ...core.devices.device_spec import parse_devices
    from ...core.processes.launch import start_detached
    from ...core.runs.index import start_from
    from ...core.runs.request import RankTimeouts

    item = store.load(name)
    chosen = [f'training.device="{parse_devices(devices)}"'] if devices else []
    chosen += [f"training.start_from={json.dumps(start_from(logs, from_))}"] if from_ else []
    config, rank_timeouts = item.with_overrides([*(overrides or []), *chosen]), RankTimeouts(dist_timeout, retries)
    if dry_run or detach:
        from ...core.training.plan import make_plan  # torch, seconds
        from ..format.tables import plan_page
        from .output import print_table

        plan = make_plan(config, data)
        if dry_run:
            return print_json(plan.to_json()) if as_json else print_table(plan_page(plan))

    from ...core.runs.label import Label

    label = Label(item.name, run_name, tuple(tag or ()), item.reported_for(config))
    if detach:
        return report_start(
            start_detached(config, label, logs, data, time.time(), rank_timeouts=rank_timeouts), as_json
        )

    from ...core.api import run as train

    def start_here(control: Control, context: SessionContext) -> Iterator[RunEvent]:
        return train(config, logs, control, context=replace(context, rank_timeouts=rank_timeouts), label=label)

    return in_foreground(start_here, logs, data, on_hangup, as_json, multi_device=ranks_of(config) > 1)


@app.command(epilog="Example: torchdeck resume @last training.epochs=60")
def resume(
    reference: RunReference,
    overrides: Overrides = None,
    logs: Logs = LOGS,
    data: Data = DATA,
    detach: Detach = False,
    dist_timeout: DistTimeout = 600.0,
    retries: Retries = 0,
    on_hangup: OnHangup = "hand-over",
    as_json: Json = False,
) -> None:
    """Resume a stopped or dead run from its last checkpoint, or unpause a paused one.

    With settings, such as training.epochs=60 or optimizer.lr=0.001, also a finished run trains longer, or goes on with
    others; what was asked for at first stays in its run.json.
    """
    from ...core.processes.launch import resume_detached
    from ...core.runs.changed_settings import change_settings
    from ...core.runs.commands import send_command
    from ...core.runs.index import find_run, requested_ranks
    from ...core.runs.request import RankTimeouts
    from ...core.runs.writer import check_inactive

    row, rank_timeouts = find_run(logs, reference), RankTimeouts(dist_timeout, retries)
    if row.status == "paused" and not overrides:
        send_command(row.folder, "unpause")
        return typer.echo(f"unpaused {row.id}", err=True)
    check_inactive(row.folder)
    if overrides:
        change_settings(row.folder, overrides)
    if detach:
        return report_start(resume_detached(row.folder, data, rank_timeouts=rank_timeouts), as_json)

    from ...core.api import resume as resume_run  # torch, seconds

    def start_here(control: Control, context: SessionContext) -> Iterator[RunEvent]:
        return resume_run(row.folder, control, context=replace(context, rank_timeouts=rank_timeouts))

    return in_foreground(start_here, logs, data, on_hangup, as_json, multi_device=requested_ranks(row.folder) > 1)


@app.command(epilog="Example: torchdeck runs 'lenet status:done test/accuracy>60%'")
def runs(
    filter_text: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="Words and terms that must all match.")
    ] = None,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """List the runs, newest last.

    A filter consists of words to search for, and of terms such as status:done, preset:lenet, tag:paper,
    optimizer.lr<0.1 or test/accuracy>80%.
    """
    from ...core.runs.index import list_runs, parse_filter
    from ..format.tables import runs_table
    from .output import print_table

    test = parse_filter(" ".join(filter_text or []))
    found = [row for row in list_runs(logs) if test(row)]
    if as_json:
        return print_json([row.to_json() for row in found])
    if not found:
        from ..format.values import safe

        return typer.echo(safe(f"no matching runs in {logs}"), err=True)
    return print_table(runs_table(found))


@app.command(epilog="Example: torchdeck show @best:lenet")
def show(reference: RunReference, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Show a run: its setup, its results, and precision, recall and F1 of every class."""
    from ...core.runs.index import find_run
    from ...core.runs.reader import load_record
    from ..format.tables import record_json, run_page
    from .output import print_table

    row = find_run(logs, reference)
    if row.status == "unreadable":
        raise TorchdeckError(f"run {row.id} cannot be shown: {row.problem}")
    record = load_record(row.folder)
    return print_json(record_json(row, record)) if as_json else print_table(run_page(row, record))


@app.command(epilog="Example: torchdeck doctor")
def doctor(logs: Logs = LOGS, data: Data = DATA, as_json: Json = False) -> None:
    """Show what this machine has: versions, devices, data sets, terminal, free disk space."""
    from ..format.tables import table
    from .doctor import examine
    from .output import print_table

    found = examine(logs, data)
    return (
        print_json(found) if as_json else print_table(table(["", ""], [(key, value) for key, value in found.items()]))
    )


arrange(app)


def main() -> None:
    """Run the command line; errors are shown as one message with a hint, and exit with the code of their kind."""
    collect_rarely()
    try:
        sys.exit(app(sys.argv[1:] or ["tui"], prog_name="torchdeck", standalone_mode=False))
    except TorchdeckError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except _UsageError as error:
        _print_usage_error(error)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - users never see a raw traceback
        if os.environ.get("TORCHDECK_DEBUG"):
            traceback.print_exc()
        if known := explained(error):
            _print_error(known)
            sys.exit(known.exit_code)
        from ..format.values import safe

        message = safe(f"internal error: {type(error).__name__}: {error}")
        typer.echo(f"{message}\n  set TORCHDECK_DEBUG=1 to see where", err=True)
        sys.exit(1)


# Typer vendors click under another name; this is click's UsageError, the base class of all usage errors.
_UsageError = cast("type[Exception]", typer.BadParameter.__base__)


def _print_usage_error(error: Exception) -> None:
    """Print typer's message, with control characters of quoted arguments removed."""
    from typer import rich_utils  # rich, 0.05 s

    from ..format.values import safe

    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, safe(value))
    rich_utils.rich_format_error(cast("Any", error))


def _print_error(error: TorchdeckError) -> None:
    from ..format.values import safe

    lines = error.message.splitlines() if isinstance(error, ConfigError) else [error.message]
    for line in lines:
        typer.echo(f"error: {safe(line)}", err=True)
    if error.hint:
        typer.echo(f"  {safe(error.hint)}", err=True)


if __name__ == "__main__":
    main()
