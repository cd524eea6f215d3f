"""The arguments and options that commands share, what completes them, and how JSON is printed."""

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
        help="An id, a unique prefix, its last four characters, @last, or the name of the newest.",
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
    typer.Option("--refresh", envvar="TORCHDECK_REFRESH", help="How often to draw; auto: normal, slow over SSH."),
]
Devices = Annotated[
    str,
    typer.Option(
        "--devices",
        "--device",
        help="4 GPUs by number, 0,1 by name, cpu:2 for two processes, cpu, cuda, cuda:N; sets training.device.",
    ),
]
DistTimeout = Annotated[
    float, typer.Option(min=1, help="On several devices: seconds until one that does not answer is given up.")
]
Retries = Annotated[
    int, typer.Option(min=0, help="On several devices: how often to go on from the last checkpoint when one dies.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Train in a process of its own, and return once it does.")]
OnHangup = Annotated[
    HangupPolicy,
    typer.Option(
        "--on-hangup",
        envvar="TORCHDECK_ON_HANGUP",
        help="What a lost terminal does to a run: hand it over to a process of its own, or stop it with a checkpoint.",
    ),
]
Ascii = Annotated[bool, typer.Option("--ascii", help="Draw with ASCII only; on by itself where UTF-8 is missing.")]


def print_json(content: Any) -> None:
    """Print what a script reads."""
    with exit_on_broken_pipe():
        typer.echo(json.dumps(content, indent=2))
