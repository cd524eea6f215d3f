"""Estimate how long a run will take, from earlier runs of the same work on the same device, or by measuring."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..config import ExperimentConfig, to_plain
from ..errors import RunError
from ..runs.index import RunRow

MAX_RUNS = 5
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds of one epoch including evaluation, and where the estimate is from."""

    seconds_per_epoch: float
    source: str


def from_runs(config: ExperimentConfig, device_name: str, rows: Iterable[RunRow]) -> Estimate | None:
    """An estimate from the newest runs with the same work per epoch; None where there are none."""
    wanted = _epoch_work(to_plain(config))
    found: list[float] = []
    for row in rows:
        config_of_run = row.header.get("config")
        same = str(row.summary.get("device", "")) == device_name and _epoch_work(config_of_run) == wanted
        same = same and config.training.precision in ("auto", _precision(config_of_run))
        if same and (seconds := _seconds_per_epoch(row)):
            found.append(seconds)
    if not found:
        return None
    recent = found[-MAX_RUNS:]
    source = f"{len(recent)} earlier run" + ("s" if len(recent) > 1 else "")
    return Estimate(statistics.median(recent), source)


def measure(config: ExperimentConfig, data: Path) -> Estimate:
    """An estimate from a few steps in a child process, which leaves the state of this process alone.

    Raises:
        RunError: the child process failed or took too long.
    """
    command = [sys.executable, "-P", "-m", "torchdeck.core.training.epoch_timing", str(data)]
    text = json.dumps(to_plain(config))
    try:
        child = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"the measurement took over {TIMEOUT:.0f} s", "lower training.batch_size") from None
    try:
        return Estimate(float(json.loads(child.stdout)["seconds_per_epoch"]), "measured")
    except (ValueError, KeyError, TypeError):
        last = child.stderr.strip().splitlines()[-1:] or ["no error message"]
        raise RunError(f"the measurement failed: {last[0][:300]}", "start the run to see the full message") from None


def _epoch_work(config: Any) -> Any:
    """The settings that determine the time of an epoch."""
    if not isinstance(config, Mapping):
        return None
    content = cast("Mapping[str, Mapping[str, Any]]", config)
    data, training = content.get("data", {}), content.get("training", {})
    kept = {key: value for key, value in data.items() if key not in ("source", "download", "normalization")}
    steps = [training.get(key) for key in ("batch_size", "accumulation", "threads", "compile")]
    return kept, content.get("model"), content.get("optimizer", {}).get("name"), steps


def _precision(config: Any) -> Any:
    return cast("Mapping[str, Mapping[str, Any]]", config).get("training", {}).get("precision")


def _seconds_per_epoch(row: RunRow) -> float | None:
    seconds, epochs = row.summary.get("seconds") or row.summary.get("train_seconds"), row.summary.get("epoch")
    if not isinstance(seconds, int | float) or not isinstance(epochs, int) or not epochs:
        return None
    return seconds / epochs
