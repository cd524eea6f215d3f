"""The command that trains a run's settings again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ...core.results.run_result import ResultRow
from ...core.runs.index import RunRow
from ...core.utils.flatten import Settings, flatten
from ..format.values import as_text
from .run_settings import changes


def run_command(row: ResultRow) -> str:
    """`torchdeck run PRESET` with the settings that differ from the preset."""
    header = {"preset": row.preset, "config": nested(row.config)}
    given = changes(RunRow("", row.folder or Path(), row.state, header=header))
    texts = (shlex.quote(f"{path}={as_text(value)}") for path, value in given.items())
    return " ".join(["torchdeck run", row.preset, *texts])


def nested(config: Settings) -> dict[str, dict[str, Any]]:
    """Settings by path as a table per section, without those that are None."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in config.items():
        section, _, key = path.partition(".")
        if value is not None:
            found.setdefault(section, {})[key] = value
    assert flatten(found).keys() <= config.keys()
    return found
