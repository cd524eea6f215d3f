"""Arguments and options that commands share, with shell completion; and printing of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..terminal.broken_pipe import exit_on_broken_pipe
from ..terminal.shutdown import HangupPolicy


def _preset_names(incomplete: str) -> Iterator[str]:
    from ... import presets as store  # pydantic, 0.2 s

    yield from (name for name in store.names() if name.startswith(incomplete))


def _run_ids(incomplete: str) -> Iterator[str]:
    yield from _folders(incomplete, "run.json")


def _study_ids(incomplete: str) -> Iterator[str]:
    yield from _folders(incomplete, "study.json")


def _either_ids(incomplete: str) -> Iterator[str]:
    yield from (*_folders(incomplete, "run.json"), *_folders(incomplete, "study.json"))


def _folders(incomplete: str, file: str) -> list[str]:
    logs = Path(os.environ.get("TORCHDECK_LOGS", "logs"))
    return sorted(path.parent.name for path in logs.glob(f"{incomplete}*/{file}"))


LOGS, DATA = Path("logs"), Path("data")
Logs = Annotated[Path, typer.Option("--logs", envvar="TORCHDECK_LOGS", help="Folder of the run directories.")]
Data = Annotated[Path, typer.Option("--data", envvar="TORCHDECK_DATA", help="Folder of the data sets.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
PresetName = Annotated[
    str, typer.Argument(metavar="PRESET", help="A preset's name, or a TOML file.", autocompletion=_preset_names)
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings to change, as TOML values.")
]
RunReference = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="An id, a unique prefix, its last four characters, @last or @best:PRESET.",
        autocompletion=_run_ids,
    ),
]
StudyReference = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="An id, a unique prefix, its last four characters, @last, or a name (its newest study).",
        autocompletion=_study_ids,
    ),
]
RunReferences = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="Ids, unique prefixes, last four characters, @last.", autocompletion=_run_ids
    ),
]
EitherReference = Annotated[
    str,
    typer.Argument(
        metavar="RUN|STUDY",
        help="An id, a unique prefix, its last four characters, @last, @best:PRESET, or a study's name.",
        autocompletion=_either_ids,
    ),
]
RefreshOption = Annotated[
    Literal["auto", "fast", "normal", "slow"],
    typer.Option(
        "--refresh", envvar="TORCHDECK_REFRESH", help="How often to redraw; auto is normal, or slow over SSH."
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        "--devices",
        "--device",
        help="4 (that many GPUs), 0,1 (these GPUs), cpu:2 (two processes), cpu, cuda or cuda:N; sets training.device.",
    ),
]
DistTimeout = Annotated[
    float, typer.Option(min=1, help="Several devices: seconds to wait for one that does not respond.")
]
Retries = Annotated[
    int, typer.Option(min=0, help="Several devices: how often to restart from the last checkpoint if one dies.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Train in a background process, and return once it trains.")]
OnHangup = Annotated[
    HangupPolicy,
    typer.Option(
        "--on-hangup",
        envvar="TORCHDECK_ON_HANGUP",
        help="If the terminal is lost: hand the run over to a background process, or stop it with a checkpoint.",
    ),
]
Ascii = Annotated[bool, typer.Option("--ascii", help="Draw with ASCII only; the default without UTF-8.")]


def print_json(content: Any) -> None:
    """Print JSON for scripts."""
    with exit_on_broken_pipe():
        typer.echo(json.dumps(content, indent=2))
