"""Requests to workers: the run of a study with its config for a slot, and the runs that a search draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import parse_config, to_plain, with_overrides
from ..devices.slots import Slot
from ..errors import ConfigError
from .model import Search, Study, StudyRun
from .search_space import override_texts


def worker_request(study: Study, run: StudyRun, slot: Slot, logs: Path, data: Path, resumed: bool) -> dict[str, Any]:
    """The request for the worker of a run in a slot; see `torchdeck.core.processes.worker`."""
    return {
        "logs": str(logs),
        "data": str(data),
        "run_id": run.run_id,
        "resume": resumed,
        "preset": run.preset,
        "name": run.label,
        "tags": list(study.tags),
        "reported": [figure for figure in run.reported if "/" in str(figure.get("metric"))],
        "study": {"id": study.study_id, "number": run.number},
        "config": config_for_slot(run.config, slot),
    }


def drawn_run(search: Search, number: int, preset: str, settings: Mapping[str, Any]) -> StudyRun:
    """The run for settings that a search drew; it counts as failed where they are not valid together."""
    label = " ".join(f"{path.partition('.')[2]}={_short(value)}" for path, value in settings.items())
    content = with_overrides(search.base, override_texts(settings))
    try:
        return StudyRun(number, label, settings, preset, to_plain(parse_config(content)))
    except ConfigError as error:
        return StudyRun(number, label, settings, preset, content, state="failed", reason=error.message)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def config_for_slot(config: Mapping[str, Any], slot: Slot) -> dict[str, Any]:
    """The config with the device and threads of a slot, where they are `auto`."""
    training = dict(config["training"])
    if training.get("device", "auto") == "auto":
        training["device"] = slot.device
    if training.get("threads", "auto") == "auto" and slot.threads is not None:
        training["threads"] = slot.threads
    return {**config, "training": training}
