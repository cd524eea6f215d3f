"""The layout of a run folder: file names, run ids, locks."""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from ..utils.files import (
    is_folder,
)
from ..utils.locks import is_held

SCHEMA = 1


MIN_READER = 1


AGENT_LOCK = "agent.lock"
"""Held by the agent of a run on several devices: the run is active also while no rank writes."""


CONSOLE = "console.log"
"""The file in the run folder with what the run's process prints."""


RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def new_run_id(preset: str, now: float) -> str:
    """A new run id: UTC date and time, preset, and four random characters."""
    slug = re.sub(r"[^a-z0-9-]+", "-", preset.lower()).strip("-") or "run"
    when = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    return f"{when}-{slug[:64]}-{''.join(secrets.choice('abcdefghjkmnpqrstuvwxyz23456789') for _ in range(4))}"


def is_run(folder: Path) -> bool:
    """Whether a folder is a run folder; a link to one is not, because it may lead anywhere."""
    return is_folder(folder) and os.path.lexists(folder / "run.json")


def is_locked(folder: Path) -> bool | None:
    """Whether a process trains the run; None where the lock cannot be tested."""
    held = is_held(f"{folder}/run.lock")
    return is_held(f"{folder}/{AGENT_LOCK}") if held is False else held
