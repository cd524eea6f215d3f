"""Other settings for the next attempt of a run: what may change, and whether the run stays an exact repetition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..config import ExperimentConfig, config_hash, parse_config, to_plain, with_overrides
from ..data import AUGMENTATION
from ..errors import ConfigError, Fault, InputError, LogsError
from ..utils.files import disk_error_text, to_json_bytes, write_atomically
from ..utils.flatten import flatten
from .index import SETTINGS, read_header
from .reader import load_record

CHANGEABLE = frozenset(
    {
        *(f"data.{name}" for name in (*AUGMENTATION, "source", "download")),
        *("model.dropout", "model.freeze"),
        *(f"training.{name}" for name in ("epochs", "patience", "target_accuracy", "freeze_epochs", "on_divergence")),
        *(f"training.{name}" for name in ("label_smoothing", "gradient_clipping", "accumulation", "log_interval")),
        *(f"training.{name}" for name in ("evaluation_batch_size", "test_time", "test_time_share", "threads")),
        *(f"training.{name}" for name in ("compile", "cuda_graph", "deterministic")),
    }
)
"""Settings under which a checkpoint stays valid, besides all of the optimizer but its name, and all of the schedule."""
HARMLESS = frozenset({"training.epochs", "training.log_interval", "data.download", "data.source"})


def change_settings(folder: Path, overrides: Iterable[str]) -> None:
    """Give a run other settings for its next attempts: `section.key=value` over those of its last one.

    run.json stays what was asked for; the new settings are written beside it.

    Raises:
        ConfigError: they are not valid, or a checkpoint of the run would not fit them.
        LogsError: the settings of the run cannot be read or written.
    """
    header = read_header(folder)
    if "config" not in header:
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "start a new run")
    config = parse_config(with_overrides(header["config"], overrides))
    changed = changed_paths(header["config"], to_plain(config))
    if refused := sorted(path for path in changed if not is_changeable(path)):
        fix = "start a new run, with --from to keep the weights"
        raise ConfigError([Fault(path, f"cannot change within a run; {fix}") for path in refused])
    done = len(load_record(folder).epochs)
    if changed and config.training.epochs < done:
        raise ConfigError([Fault("training.epochs", f"{done} epochs are done already; set it to {done} or more")])
    try:
        content = {"config": to_plain(config), "config_sha256": config_hash(config)}
        write_atomically(folder / SETTINGS, to_json_bytes(content), durable=True)
    except OSError as error:
        raise LogsError(f"{folder} cannot be written ({disk_error_text(error)})", "check its permissions") from None


def changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """The dotted paths of settings that differ; one that an older version did not have counts where it is set."""
    before, after = flatten(to_plain(parse_config(old))), flatten(new)
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def is_changeable(path: str) -> bool:
    """Whether a checkpoint stays valid under another value of this setting."""
    section = path.partition(".")[0]
    return path in CHANGEABLE or section == "schedule" or (section == "optimizer" and path != "optimizer.name")


def stays_exact(old: Mapping[str, Any], config: ExperimentConfig) -> bool:
    """Whether an attempt with these settings repeats a run that had them from the start, whose settings were `old`."""
    changed = changed_paths(old, to_plain(config))
    schedule = config.schedule
    fixed = schedule.name in ("constant", "step", "plateau") or bool(getattr(schedule, "epochs", 0))
    longer = "training.epochs" not in changed or (fixed and not config.training.lookahead)
    return changed <= HARMLESS and longer


def check_unfinished(folder: Path, old: Mapping[str, Any]) -> None:
    """Check that a completed run was given settings under which it trains on.

    Raises:
        InputError: it was not.
    """
    header = read_header(folder)
    if not changed_paths(old, header.get("config", {})):
        raise InputError(
            f"run {folder.name} is complete", f"train it longer with: torchdeck resume {folder.name} training.epochs=N"
        )
