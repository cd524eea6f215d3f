"""What commands print on stdout: runs, presets, settings and plans as rich tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...core.config import to_plain
from ...core.data.caches import Cache
from ...core.devices.rank_devices import name_text, rank_devices
from ...core.events import RunStarted, plain
from ...core.results.class_metrics import class_figures, macro
from ...core.runs.index import RunRow
from ...core.runs.milestones import Milestone, milestones, time_to
from ...core.runs.record import RunRecord, summarize
from ...core.runs.reported import read_reported, standing
from ...core.settings import Setting
from ...core.utils.flatten import flatten
from ...presets import Preset, full_run
from .network_text import network_name, origin_text
from .plan_text import batch_text, rate_text
from .values import count, duration, figure, flops, moment, percent, safe, size

if TYPE_CHECKING:
    from ...core.training.plan import Plan  # torch, seconds

WIDE = 200
MAX_CELL_LENGTH = 1000


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", right: Container[str] = ""
) -> Table:
    """A table of texts; `right` contains the numbers of the columns to align right."""
    head = Text(safe(title)) if title else None
    made = Table(box=box.SIMPLE_HEAD, title=head, title_justify="left", pad_edge=False, show_header=any(columns))
    for number, column in enumerate(columns):
        made.add_column(Text(safe(column)), justify="right" if str(number) in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(safe(cell, MAX_CELL_LENGTH)) for cell in row))
    return made


def reported_table(record: RunRecord) -> Table | None:
    """The figures reported for a run's preset, and those that the run reached."""
    figures = read_reported(record.started.reported if record.started else ())
    if not figures:
        return None
    preset = record.started.preset if record.started else ""
    rows: list[tuple[str, str, str, str, str]] = []
    for item in figures:
        reached = item.reached(record.epochs, record.status == "completed")
        words = standing(item, record, full_run(preset, item))
        rows.append((item.metric, item.at, figure(item.metric, item.value), figure(item.metric, reached), words))
    return table(["metric", "at", "reported", "reached", ""], rows, right="23")


def results(record: RunRecord) -> Group:
    """The results of a run: final and best metrics, and reported figures."""
    parts: list[RenderableType] = [_figures(record), Text(f"training time {duration(record.train_seconds)}")]
    if reported := reported_table(record):
        parts.append(reported)
    return Group(*parts)


def _figures(record: RunRecord) -> Table:
    last, best = record.epochs[-1] if record.epochs else None, record.best
    metrics = list(last.metrics) if last else []
    rows = [
        (
            name,
            _with_count(record, name, last.metrics[name] if last else None),
            _with_count(record, name, best.metrics.get(name) if best else None),
        )
        for name in metrics
    ]
    columns = ["", f"final (epoch {last.epoch})" if last else "final", f"best (epoch {best.epoch})" if best else "best"]
    return table(columns, rows, right="12")


def _with_count(record: RunRecord, metric: str, value: float | None) -> str:
    """A metric's value; of a test accuracy also the images: 88.46 % (322 of 364)."""
    images = record.started.test_images if record.started else 0
    if metric != "test/accuracy" or value is None or not images or not 0 <= value <= 1:
        return figure(metric, value)
    return f"{figure(metric, value)} ({count(value * images)} of {count(images)})"


def facts(record: RunRecord) -> Table:
    """A run's status, setup, speed and warnings."""
    return table(["", ""], fact_rows(record))


def fact_rows(record: RunRecord) -> list[tuple[str, str]]:
    """The rows of `facts`: names and texts."""
    started = record.started
    rows: list[tuple[str, str]] = [("status", record.status + (f": {record.reason}" if record.reason else ""))]
    if started:
        config = defaultdict(lambda: "?", flatten(started.config))
        device = f"{name_text(started)}, {config['training.precision']}, {config['training.threads']} threads"
        images = f"{count(started.train_images)} + {count(started.test_images)} images"
        rows += [
            ("preset", started.preset + (f" ({started.name})" if started.name else "")),
            ("started", moment(record.created)),
            ("device", device),
            ("data", f"{config['data.name']}, {images}"),
            ("model", f"{network_name(config)}, {_size_of_model(started)}"),
            *([("started from", origin_text(started.origin))] if started.origin else []),
            ("epochs", f"{len(record.epochs)} of {started.epochs}, {count(started.steps_per_epoch)} steps each"),
            ("training time", duration(record.train_seconds)),
            ("images/s", speed(record)),
            ("peak memory", size(record.peak)),
            ("first reached", first_reached(record)),  # on the clock of "training time"
            ("best chosen on", f"{started.chosen_on} split, {config['training.patience_metric']}"),
            ("reproducible", {"exact": "bit for bit on this machine"}.get(started.reproducible, "up to rounding")),
        ]
    rows += [("attempts", str(record.attempt))] if record.attempt > 1 else []
    rows += [("weights", missed)] if (missed := record.instead_of_best(record.weights_epoch)) else []
    return [*rows, *(("warning", warning) for warning in record.warnings)]


def speed(record: RunRecord) -> str:
    """Training images per second; on several devices also those of each."""
    whole = record.images_per_second
    devices = len(rank_devices(record.started)) if record.started else 1
    return count(whole) + (f", {count(whole / devices)} a device" if whole is not None and devices > 1 else "")


def _size_of_model(started: RunStarted) -> str:
    return f"{count(started.parameters)} parameters, {flops(started.forward_flops)} an image"


def first_reached(record: RunRecord) -> str:
    """The training time to each ten percent of accuracy and the highest percent; with the energy if measured."""
    reached = milestones(record.epochs)
    highest = reached[-1].percent if reached else 0
    percents = sorted({*range(10, highest, 10), highest} - {0})
    times = [(percent, item) for percent in percents if (item := time_to(percent, reached))]
    return ", ".join(f"{percent} % in {duration(item.train_seconds)}{_energy(item)}" for percent, item in times) or "–"


def _energy(item: Milestone) -> str:
    return f" and {item.energy / 1000:,.1f} kJ" if item.energy is not None else ""


def class_table(record: RunRecord) -> Table | None:
    """Precision, recall and F1 of every class at the best epoch, and their means."""
    seen, started = record.best_confusion, record.started
    if seen is None or started is None:
        return None
    figures = class_figures(seen.confusion)
    known = started.class_names if len(started.class_names) == len(figures) else range(len(figures))
    named = [*zip(known, figures, strict=True), ("macro mean", macro(figures))]
    rows = [(name, percent(f.precision), percent(f.recall), percent(f.f1), count(f.images)) for name, f in named]
    return table(["class", "precision", "recall", "F1", "images"], rows, f"epoch {seen.epoch}", "1234")


def runs_table(rows: Sequence[RunRow]) -> Table:
    """A row per run."""
    columns = ["run", "status", "preset", "name", "epoch", "best test", "final test", "time", "tags"]
    return table(columns, map(_run_cells, rows), right="4567")


def _run_cells(row: RunRow) -> tuple[str, ...]:
    summary = row.summary
    epochs = f"{summary.get('epoch', 0)}/{summary.get('epochs', 0)}"
    best, final = (_accuracy(summary.get(kind)) for kind in ("best", "final"))
    status = f"{row.status} ({row.problem})" if row.problem else row.status
    seconds = summary.get("train_seconds")
    time = duration(seconds if isinstance(seconds, int | float) else None)
    return row.id, status, row.preset, row.name, epochs, best, final, time, " ".join(row.tags)


def _accuracy(metrics: Any) -> str:
    value = metrics.get("test/accuracy") if isinstance(metrics, dict) else None
    return percent(value) if isinstance(value, int | float) else "-"


def presets_table(found: Sequence[Preset]) -> Table:
    """A row per preset, with its reported figures."""
    rows = [(item.name, item.title, _claims(item), item.summary) for item in found]
    return table(["preset", "title", "reported", "summary"], rows)


def _claims(item: Preset) -> str:
    return ", ".join(
        f"{figure(claim.metric, claim.value)} {claim.at}" for claim in item.reported if "test" in claim.metric
    )


def preset_page(item: Preset) -> Group:
    """A preset's reported figures, and its settings with notes on what the report leaves open."""
    rows = [
        (f"{section}.{key}", _shown(value), item.notes.get(f"{section}.{key}", ""))
        for section, values in to_plain(item.config).items()
        for key, value in values.items()
    ]
    claims = [(claim.metric, claim.at, figure(claim.metric, claim.value)) for claim in item.reported]
    parts: list[RenderableType] = [Text(safe(f"{item.name}: {item.title}")), Text(safe(item.summary))]
    parts += [table(["metric", "at", "reported"], claims, right="2")] if claims else []
    return Group(*parts, table(["setting", "value", "note"], rows))


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def datasets_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line a data set, with the size of its decoded images."""
    cells = [(row["name"], row["here"], size(row["cache_bytes"] or None), row["summary"]) for row in rows]
    return table(["data set", "on disk", "decoded", "description"], cells, right="2")


def caches_table(caches: Sequence[Cache]) -> Table:
    """One line a cache of decoded images: its data set and size, and why no data set uses it."""
    rows: list[tuple[str, str, str, str]] = []
    for cache in caches:
        options = cache.options
        of = f"{getattr(options, 'path', options.name)} at {options.size}" if options else ""
        rows.append((cache.folder.name, of, size(cache.bytes), cache.unused))
    return table(["decoded images", "data set", "size", "unused because"], rows, right="2")


def settings_table(found: Sequence[Setting]) -> Table:
    """A row per setting."""
    rows = [(item.path, item.of, _shown(item.default), item.bounds, item.help) for item in found]
    return table(["setting", "of", "default", "bounds", "meaning"], rows)


def setting_json(item: Setting) -> dict[str, Any]:
    """A setting as `settings --json` prints it."""
    body = asdict(item)
    return {"setting": body.pop("path"), **body}


_PRECISIONS = {"auto": "bf16 if a check at the start finds it faster, else fp32"}


def plan_page(plan: Plan) -> Group:
    """What a run would do: device, data, model, steps and memory, and the model's layers."""
    training = plan.config.training
    data, network = plan.config.data, network_name(flatten(to_plain(plan.config)))
    shares = [("batch", f"{batch_text(training.batch_size, plan.ranks)} images")] if plan.ranks > 1 else []
    shares += [("learning rate", rate)] if (rate := rate_text(plan.config)) else []
    rows = [
        ("device", f"{training.device}, {_PRECISIONS.get(training.precision, training.precision)}"),
        ("data", f"{data.name}, {_images(plan)} images, {data.source}"),
        (
            "model",
            f"{network}, {count(plan.parameters)} parameters, {flops(plan.forward_flops)} an image",
        ),
        ("steps", f"{count(plan.steps_per_epoch)} an epoch, {count(plan.steps_per_epoch * training.epochs)} in all"),
        *shares,
        ("memory", f"about {size(plan.memory)}" + (" on each device" if plan.ranks > 1 else "")),
        *([("disk", f"about {size(plan.disk)} for decoded images, once")] if plan.disk else []),
        *(("note", note) for note in plan.notes),
    ]
    layers = [
        (layer.name, layer.kind, " x ".join(map(str, layer.output)), count(layer.parameters), flops(layer.flops))
        for layer in plan.layers
    ]
    return Group(table(["", ""], rows), table(["layer", "kind", "output", "parameters", "forward"], layers, right="34"))


def _images(plan: Plan) -> str:
    """The images to train on, to choose the best epoch by where these are others, and to test on."""
    validation = f" + {count(plan.validation_images)} validation" if plan.validation_images else ""
    return f"{count(plan.train_images)}{validation} + {count(plan.test_images)}" + (" test" if validation else "")


def run_page(row: RunRow, record: RunRecord) -> Group:
    """What `show` prints of a run."""
    parts: list[RenderableType] = [Text(safe(row.id)), facts(record)]
    if row.tags:
        parts.append(Text(safe(f"tags: {' '.join(row.tags)}")))
    if record.epochs:
        parts.append(results(record))
    if classes := class_table(record):
        parts.append(classes)
    return Group(*parts)


def record_json(row: RunRow, record: RunRecord) -> dict[str, Any]:
    """What `show --json` prints: the summary, the metrics of every class and epoch, and the settings."""
    seen, started = record.best_confusion, record.started
    figures = class_figures(seen.confusion) if seen else []
    names = started.class_names if started else ()
    return {
        **summarize(record),
        "id": row.id,
        "tags": list(row.tags),
        "classes": {name: asdict(item) for name, item in zip(names, figures, strict=False)},
        "macro": asdict(macro(figures)) if figures else None,
        "weights_epoch": record.weights_epoch,
        "history": [{"epoch": epoch.epoch, "step": epoch.step, **plain(epoch.metrics)} for epoch in record.epochs],
        "config": row.header.get("config", {}),
        "environment": row.header.get("environment", {}),
    }
