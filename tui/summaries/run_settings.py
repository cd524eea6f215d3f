"""The settings of runs: what differs from the preset, and between runs; names and values as text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ... import presets
from ...core.config import SECTIONS, to_plain
from ...core.errors import TorchdeckError
from ...core.runs.index import RunRow
from ...core.settings import section_settings
from ...core.utils.flatten import Settings, as_mapping, as_sequence, differing_paths, flatten
from ..format.values import safe

FIRST = ("model.name", "optimizer.lr", "training.batch_size", "optimizer.name", "data.name")
MACHINE = ("training.device", "training.threads", "training.evaluation_batch_size", "training.channels_last",
           "training.log_interval", "data.source", "data.download")  # fmt: skip
_WITHOUT_SECTION = ("optimizer", "training")


def settings_in(row: RunRow) -> Settings:
    """All settings in a run's log, by path."""
    return flatten(row.header.get("config"))


def setting(row: RunRow, path: str) -> Any:
    """One setting of a run; None if its log does not contain it."""
    section, _, key = path.partition(".")
    return as_mapping(as_mapping(row.header.get("config")).get(section)).get(key)


def changes(row: RunRow) -> Settings:
    """The settings of a run that differ from its preset's; empty if the preset is unknown.

    Settings that the preset leaves to the machine (`auto`) do not count.
    """
    preset = preset_settings(row.preset)
    if not preset:
        return {}
    values = settings_in(row)
    return {path: value for path, value in values.items() if _changed(path, value, preset, values)}


def _changed(path: str, value: Any, preset: Settings, values: Settings) -> bool:
    section, _, key = path.partition(".")
    expected = preset.get(path, _default(section, str(values.get(f"{section}.name", "")), key))
    return expected not in (value, "auto")


@lru_cache(maxsize=128)
def preset_settings(name: str) -> Settings:
    """The settings of a preset; empty if it does not exist any more."""
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
    """The settings that differ between runs, the most important ones first, those of the machine last."""
    return sorted(differing_paths([settings_in(row) for row in rows]), key=weight)


def weight(path: str) -> tuple[bool, int]:
    """The sort key of settings: the most important ones first, those of the machine last."""
    return path in MACHINE, FIRST.index(path) if path in FIRST else len(FIRST)


def label(path: str) -> str:
    """A setting's name in words: "model" for `model.name`, "schedule warmup epochs" for `schedule.warmup_epochs`."""
    section, _, key = path.partition(".")
    words = safe(key.replace("_", " "))
    if key == "name":
        return safe(section)
    return words if section in _WITHOUT_SECTION else f"{safe(section)} {words}"


def shown(value: Any) -> str:
    """A setting's value as text; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ",".join(shown(item) for item in as_sequence(value))
    return safe(value)
