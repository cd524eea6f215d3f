"""Export runs as TensorBoard event files: scalars of every epoch, the loss of every step, hyperparameters."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs.record import RunRecord
from ..utils.extras import extra_module
from ..utils.files import write_atomically
from ..utils.flatten import Settings, flatten
from .csv_export import ExportedRun, with_epochs, write_error
from .curves import step_losses

PLUGIN = "tensorboard.plugins.hparams"


def write_events(runs: Sequence[ExportedRun], target: Path) -> list[Path]:
    """Write one event file per run below the folder `target`, replacing earlier ones; returns the folders.

    Raises:
        InputError: tensorboard is not installed, no run has a whole epoch, or the folder cannot be written.
    """
    _part("tensorboard")
    folders: list[Path] = []
    for place, (run, record) in enumerate(with_epochs(runs)):
        folder = target / f"{place:02}-{_slug(run.label)}" if run.label else target / run.folder.name
        content = event_file(record)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A fixed name per run, so that a second export does not show the run twice.
            write_atomically(folder / f"events.out.tfevents.{record.created:.0f}.torchdeck", content, durable=True)
        except OSError as error:
            raise write_error(target, error) from None
        folders.append(folder)
    return folders


def _part(name: str) -> Any:
    return extra_module(name, "tensorboard", "an event file")


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=-]+", "-", label).strip("-.") or "run"


def event_file(record: RunRecord) -> bytes:
    """The bytes of a run's event file."""
    # Importing these parts of tensorboard takes 0.3 s.
    protos: Any = _part("tensorboard.compat.proto.event_pb2")
    writers: Any = _part("tensorboard.summary.writer.record_writer")
    file = io.BytesIO()
    writer = writers.RecordWriter(file)
    writer.write(protos.Event(wall_time=record.created, file_version="brain.Event:2").SerializeToString())
    for moment, step, summary in _summaries(record):
        writer.write(protos.Event(wall_time=moment, step=step, summary=summary).SerializeToString())
    return file.getvalue()


def _summaries(record: RunRecord) -> Iterator[tuple[float, int, Any]]:
    """Time, step and summary of every event: the hyperparameters first, the end of the session last."""
    proto: Any = _part("tensorboard.compat.proto.summary_pb2")
    settings = flatten(record.started.config) if record.started else {}
    for summary in _settings(settings, sorted(record.epochs[-1].metrics)):
        yield record.created, 0, summary
    for epoch in record.epochs:
        losses = step_losses(epoch)
        first = epoch.step - len(losses) + 1
        started = epoch.t - epoch.seconds
        for place, loss in enumerate(losses.tolist()):
            moment = started + epoch.train_seconds * (place + 1) / len(losses)
            yield moment, first + place, _scalars(proto, {"train/step_loss": loss})
        costs = {"lr": epoch.lr, "images_per_second": epoch.images_per_second, "train_seconds": epoch.train_seconds}
        yield epoch.t, epoch.step, _scalars(proto, {**epoch.metrics, **costs, "epoch": float(epoch.epoch)})
    yield record.updated, 0, _session_end(record)


def _scalars(proto: Any, values: Mapping[str, float]) -> Any:
    return proto.Summary(value=[proto.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _settings(settings: Settings, metrics: Sequence[str]) -> tuple[Any, Any]:
    """The two summaries for the HParams table: which settings exist, and their values in this run."""
    plugin: Any = _part(f"{PLUGIN}.summary_v2")
    known = {path: value for path, value in settings.items() if _is_plain(value)}
    return (
        plugin.hparams_config_pb([plugin.HParam(path) for path in known], [plugin.Metric(name) for name in metrics]),
        plugin.hparams_pb(known),
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _session_end(record: RunRecord) -> Any:
    proto: Any = _part("tensorboard.compat.proto.summary_pb2")
    api: Any = _part(f"{PLUGIN}.api_pb2")
    data: Any = _part(f"{PLUGIN}.plugin_data_pb2")
    metadata: Any = _part(f"{PLUGIN}.metadata")
    states = {"completed": api.STATUS_SUCCESS, "failed": api.STATUS_FAILURE, "running": api.STATUS_RUNNING}
    status = states.get(record.status, api.STATUS_UNKNOWN)
    end = data.SessionEndInfo(status=status, end_time_secs=record.updated)
    content = metadata.create_summary_metadata(data.HParamsPluginData(session_end_info=end))
    value = proto.Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG, metadata=content, tensor=metadata.NULL_TENSOR
    )  # fmt: skip
    return proto.Summary(value=[value])
