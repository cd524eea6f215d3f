"""Writes the table of reported and reached figures in docs/results.md from the logs of reference runs.

Usage: python benchmarks/reference_table.py [LOGS]
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import bench

from torchdeck import presets
from torchdeck.core.runs.index import list_runs
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.reported import ReportedFigure, standing
from torchdeck.tui.format.values import count, duration, figure


def table(logs: Path) -> str:
    """One line a preset and reported figure, in the order of the presets."""
    records: dict[str, list[RunRecord]] = defaultdict(list)
    for row in (row for row in list_runs(logs) if not row.study):  # a study's runs have other settings
        records[row.preset].append(load_record(row.folder))
    lines = ["| preset | figure | reported | reached | | time | device |", "|---|---|---|---|---|---|---|"]
    for name in presets.names():
        if name in records:
            lines += _lines(presets.load(name), records[name])
    return "\n".join(lines)


def _lines(preset: presets.Preset, records: Sequence[RunRecord]) -> list[str]:
    lines = [line for claim in preset.reported if (line := _claim_line(preset.name, claim, records))]
    return lines or [_plain_line(preset, records[0])]


def _claim_line(name: str, claim: ReportedFigure, records: Sequence[RunRecord]) -> str | None:
    """The figure of the preset's seed, the mean over all seeds that got there, and the verdict."""
    seen = [
        (r, value) for r in records if (value := claim.reached(r.epochs, True)) is not None and _far_enough(claim, r)
    ]
    if not seen:
        return None
    first = next(((r, value) for r, value in seen if _seed(r) == 1), seen[0])
    values = [value for _, value in seen]
    reached = figure(claim.metric, first[1])
    if len(values) > 1:
        mean, spread = statistics.mean(values), statistics.stdev(values)
        reached += f" (seed 1); {figure(claim.metric, mean)} ± {figure(claim.metric, spread)} ({len(values)} seeds)"
    what = f"{claim.metric}, {claim.at} | {figure(claim.metric, claim.value)}"
    words = standing(claim, first[0], presets.full_run(name, claim), values)
    return f"| `{name}` | {what} | {reached} | {words} | {_where(first[0])} |"


def _far_enough(claim: ReportedFigure, record: RunRecord) -> bool:
    """Whether a run trained long enough for the figure: as many epochs as it speaks of, or to its own end."""
    preset_epochs = presets.load(_preset(record)).config.training.epochs
    planned = record.started.epochs if record.started else 0
    return len(record.epochs) >= claim.epochs if claim.epochs else planned >= preset_epochs


def _preset(record: RunRecord) -> str:
    return record.started.preset if record.started else ""


def _seed(record: RunRecord) -> int:
    return int(record.started.config["training"]["seed"]) if record.started else 0


def _plain_line(preset: presets.Preset, record: RunRecord) -> str:
    """A run that no figure is reported of, or that did not get as far as the figure speaks of."""
    best = record.best
    reached = figure("test/accuracy", best.metrics["test/accuracy"]) if best else "-"
    done = f"{len(record.epochs)} epoch" + ("s" if len(record.epochs) > 1 else "")
    if record.started and record.started.config["data"]["train_limit"]:
        done += f" of {count(record.started.train_images)} images"
    claims = [f"{figure(claim.metric, claim.value)} {claim.at}" for claim in preset.reported if "test" in claim.metric]
    standing = "not run in full" if claims else ""
    what = f"test/accuracy, best of {done} | {', '.join(claims) or 'no figure'}"
    return f"| `{preset.name}` | {what} | {reached} | {standing} | {_where(record)} |"


def _where(record: RunRecord) -> str:
    started = record.started
    if started is None:
        return "- | -"
    training = started.config["training"]
    threads = f", {training['threads']} thread" + ("s" if training["threads"] > 1 else "")
    cores = threads if started.device == "cpu" else ""
    return f"{duration(record.train_seconds)} | {started.device_name.split(' (')[0]}{cores}, {training['precision']}"


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    bench.write(
        root / "docs" / "results.md", table(Path(sys.argv[1]) if len(sys.argv) > 1 else root / "logs" / "reference")
    )
