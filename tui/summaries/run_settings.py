"""The settings of a run as a flat table: what differs from its preset, and between runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ... import presets
from ...core.config import SECTIONS, section_settings, to_plain
from ...core.errors import TorchdeckError
from ...core.runs.index import RunRow
from ...core.utils.flatten import Settings, as_mapping, as_sequence, differing_paths, flatten
from ..format.values import safe

FIRST = ("model.name", "optimizer.lr", "training.batch_size", "optimizer.name", "data.name")
MACHINE = ("training.device", "training.threads", "training.evaluation_batch_size", "training.channels_last",
           "training.log_interval", "data.source", "data.download")  # fmt: skip
_BARE = ("optimizer", "training")


def settings_in(row: RunRow) -> Settings:
    """All settings that a run's log tells, whatever form it has."""
    return flatten(row.header.get("config"))


def setting(row: RunRow, path: str) -> Any:
    """One setting of a run; None where its log does not tell it."""
    section, _, key = path.partition(".")
    return as_mapping(as_mapping(row.header.get("config")).get(section)).get(key)


def changes(row: RunRow) -> Settings:
    """What a run set otherwise than its preset does; empty where the preset is not known.

    What the preset leaves to the machine is no change.
    """
    asked = preset_settings(row.preset)
    if not asked:
        return {}
    given = settings_in(row)
    return {path: value for path, value in given.items() if _changed(path, value, asked, given)}


def _changed(path: str, value: Any, asked: Settings, given: Settings) -> bool:
    section, _, key = path.partition(".")
    usual = asked.get(path, _default(section, str(given.get(f"{section}.name", "")), key))
    return usual not in (value, "auto")


@lru_cache(maxsize=128)
def preset_settings(name: str) -> Settings:
    """The settings of a preset; none where there is no such preset any more."""
    try:
        return flatten(to_plain(presets.load(name).config)) if name in presets.names() else {}
    except TorchdeckError:
        return {}


def _default(section: str, choice: str, key: str) -> Any:
    return _defaults(section, choice).get(key, "auto")


@lru_cache(maxsize=128)
def _defaults(section: str, choice: str) -> Settings:
    table = SECTIONS.get(section)
    if section not in SECTIONS or (table and choice not in table.names()):
        return {}
    found = section_settings(section, choice if table else "")
    return {item.path.partition(".")[2]: item.default for item in found}


def differing(rows: Sequence[RunRow]) -> list[str]:
    """The settings that are not the same in all runs, the telling ones first and those of the machine last."""
    return sorted(differing_paths([settings_in(row) for row in rows]), key=weight)


def weight(path: str) -> tuple[bool, int]:
    """What sorts settings: the telling ones first, those of the machine last, the others as they come."""
    return path in MACHINE, FIRST.index(path) if path in FIRST else len(FIRST)


def label(path: str) -> str:
    """A setting's name in words: `model.name` is the model, `schedule.warmup_epochs` the schedule warmup epochs."""
    section, _, key = path.partition(".")
    words = safe(key.replace("_", " "))
    if key == "name":
        return safe(section)
    return words if section in _BARE else f"{safe(section)} {words}"


def shown(value: Any) -> str:
    """A setting's value as a person writes it; a dash where a run lacks the setting."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ",".join(shown(item) for item in as_sequence(value))
    return safe(value)
