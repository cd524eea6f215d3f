"""The content of a report on a run or a study, as a document."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli_w

from ... import presets
from ...core.devices.rank_devices import name_text
from ...core.errors import LogsError
from ...core.results.chart_data import Figure, Panel, accuracy_dots, panels, run_panels
from ...core.results.class_metrics import class_figures, macro
from ...core.results.predictions import matrix_of, read_filters
from ...core.results.run_result import ResultRow
from ...core.results.study_result import StudyResult, result_of, side_by_side
from ...core.runs.index import RunRow, read_row
from ...core.studies.model import Study
from ...core.utils.flatten import Settings, as_mapping, differing_paths
from ...presets.study_presets import study_names
from ..format.tables import fact_rows
from ..format.values import count, duration, figure, moment, percent, size
from ..summaries.run_command import nested, run_command
from ..summaries.run_settings import shown
from ..summaries.study_sentences import findings
from ..summaries.study_tables import (
    Grid,
    comparison_table,
    cost_table,
    milestones_table,
    reported_table,
    results_table,
    search_table,
    seeds_table,
    unfinished_table,
)
from . import plots as drawings
from .document import Block, Bullets, Code, Document, KeyFigure, Paragraph, Picture, Pictures, Section
from .document import TableBlock as Table

MAX_MATRICES = 6


def run_document(run: RunRow) -> Document:
    """The report on one run."""
    result = side_by_side([run], presets.full_run)
    row = result.rows[0]
    title = presets.load(run.preset).title if run.preset in presets.names() else run.preset
    about = (row.run_id or run.id, moment(run.created) if 0 < run.created < 4e9 else "", row.state)
    sections = [
        Section("Results", (Table(_metrics(row)), *_table(reported_table(result)))),
        Section("Training curves", tuple(_panel(panel) for panel in run_panels(row.record))),
        Section("Classes", (*_matrices([row]), *_classes(row))),
        Section("First-layer filters", tuple(_filters([row]))),
        Section("Settings", (Table(_settings_table(row.config)),)),
        Section("Environment", (Table(_facts(row)), Table(_environment([row])))),
        Section("How to reproduce", tuple(_commands([row]))),
    ]
    return Document(
        run.name or title, title if run.name else "", _not_empty(about), _run_figures(row), _with_blocks(sections)
    )


def study_document(study: Study, logs: Path) -> Document:
    """The report on a study."""
    result = result_of(study, logs, presets.full_run)
    trained = [row for row in result.rows if row.epochs]
    shown_rows = trained if "comparison" in study.shows else [row for row in trained if row is result.best]
    when = moment(study.created) if 0 < study.created < 4e9 else ""
    sections = [
        Section("Findings", (*_reported(study), *_bullets(findings(result)))),
        Section("Results", (Table(results_table(result)), *_dots(result), *_table(unfinished_table(result)))),
        Section("Reported and reached", tuple(_table(reported_table(result)))),
        *(Section(panel.title, (_panel(panel),)) for panel in panels(result)),
        Section("Are the differences significant?", (*_table(comparison_table(result)), *_table(seeds_table(result)))),
        Section("Cost", (*_table(cost_table(result)), *_table(milestones_table(result)))),
        Section("Search", tuple(_table(search_table(result)))),
        Section("Classes", tuple(_matrices(shown_rows[:MAX_MATRICES]))),
        Section("First-layer filters", tuple(_filters(shown_rows[:MAX_MATRICES]))),
        Section("Settings", tuple(_study_settings(result))),
        Section("Environment", (Table(_environment(trained)),) if trained else ()),
        Section("How to reproduce", (*_study_command(study), *_commands(result.rows))),
    ]
    about = _not_empty((study.study_id, when, f"{len(result.rows)} runs"))
    return Document(study.title, study.summary, about, _study_figures(result), _with_blocks(sections))


def _not_empty(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _with_blocks(sections: Sequence[Section]) -> tuple[Section, ...]:
    return tuple(section for section in sections if section.blocks)


def _bullets(texts: Sequence[str]) -> list[Block]:
    return [Bullets(tuple(texts))] if texts else []


def _table(grid: Grid | None) -> list[Block]:
    return [Table(grid)] if grid else []


def _reported(study: Study) -> list[Block]:
    if not study.reported:
        return []
    return [Paragraph("Reported: " + "; ".join(text.rstrip(".") for text in study.reported) + ".")]


def _study_figures(result: StudyResult) -> tuple[KeyFigure, ...]:
    best = result.best
    seconds = sum(row.train_seconds or 0.0 for row in result.rows)
    done = f"{result.count('completed')} of {len(result.rows)}"
    rest = [
        f"{number} {state}" for state in ("failed", "pruned", "stopped", "waiting") if (number := result.count(state))
    ]
    found = [KeyFigure("best test accuracy", *_with_remark(best))] if best else []
    if best and best.gap is not None:
        found.append(
            KeyFigure("its gap", f"{100 * best.gap:.1f} points".replace("-", "−"), "train minus test, last epoch")
        )
    return (*found, KeyFigure("runs completed", done, ", ".join(rest)), KeyFigure("training time", duration(seconds)))


def _with_remark(row: ResultRow) -> tuple[str, str]:
    assert row.best, "the caller has looked"
    interval = row.best.interval
    ends = f", 95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f}" if interval else ""
    return percent(row.best.value), f"{row.label}, epoch {row.best.epoch}{ends}"


def _run_figures(row: ResultRow) -> tuple[KeyFigure, ...]:
    found: list[KeyFigure] = []
    if row.best:
        interval = row.best.interval
        ends = f", 95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f}" if interval else ""
        found.append(KeyFigure("best test accuracy", percent(row.best.value), f"epoch {row.best.epoch}{ends}"))
    if row.final:
        found.append(KeyFigure("final test accuracy", percent(row.final.value), f"after {row.final.epoch} epochs"))
    speed = f"{count(row.images_per_second)} images/s" if row.images_per_second else ""
    memory = f"{size(row.peak_memory)} peak memory" if row.peak_memory else ""
    return (
        *found,
        KeyFigure("training time", duration(row.train_seconds), speed),
        KeyFigure("parameters", count(row.parameters), memory),
    )


def _metrics(row: ResultRow) -> Grid:
    """The metrics of the last and of the best epoch."""
    record = row.record
    last, best = record.epochs[-1] if record.epochs else None, record.best
    names = list(last.metrics) if last else []
    rows = tuple(
        (
            name.replace("/", " "),
            figure(name, last.metrics.get(name) if last else None),
            figure(name, best.metrics.get(name) if best else None),
        )
        for name in names
    )
    columns = ("", f"final, epoch {last.epoch}" if last else "final", f"best, epoch {best.epoch}" if best else "best")
    return Grid("Figures of the last and of the best epoch", columns, rows, frozenset([1, 2]))


def _dots(result: StudyResult) -> list[Block]:
    drawn = accuracy_dots(result.rows)
    return [Pictures("", (_picture(drawn),))] if len(drawn.series) > 1 else []


def _panel(panel: Panel) -> Pictures:
    columns = len(panel.figures)
    title = panel.caption if columns > 1 else ""
    return Pictures(title, tuple(_picture(item, columns) for item in panel.figures), columns)


def _picture(drawn: Figure, columns: int = 1) -> Picture:
    note = f" ({drawn.note})" if drawn.note else ""
    return Picture(drawn.key, drawn.title + note, drawings.chart(drawn, columns))


def _matrices(rows: Sequence[ResultRow]) -> list[Block]:
    found = [(row, matrix) for row in rows if (matrix := matrix_of(row.record))]
    columns = min(2, max(1, len(found)))
    pictures = tuple(
        Picture(
            f"confusion-{row.number}",
            f"{row.label}, epoch {row.record.best.epoch if row.record.best else 0}",
            drawings.confusion(f"confusion-{row.number}", matrix[0], matrix[1], columns),
        )
        for row, matrix in found
    )
    return [Pictures("Confusion matrix of the best epoch, in images", pictures, columns)] if pictures else []


def _classes(row: ResultRow) -> list[Block]:
    matrix = matrix_of(row.record)
    if matrix is None:
        return []
    figures = class_figures(matrix[0])
    named = [*zip(matrix[1], figures, strict=True), ("macro mean", macro(figures))]
    rows = tuple(
        (name, percent(of.precision), percent(of.recall), percent(of.f1), count(of.images)) for name, of in named
    )
    head = ("class", "precision", "recall", "F1", "images")
    return [Table(Grid("Figures of every class", head, rows, frozenset([1, 2, 3, 4]), frozenset([len(rows) - 1])))]


def _filters(rows: Sequence[ResultRow]) -> list[Block]:
    pictures: list[Picture] = []
    for row in rows:
        try:
            found = read_filters(row.folder) if row.folder else None
        except LogsError:
            # A damaged file only costs this picture.
            found = None
        if found is not None:
            words = f"{row.label}: {len(found.weights)} filters of {found.weights.shape[2]}×{found.weights.shape[3]}"
            missed = row.record.instead_of_best(found.epoch)
            words += f" ({missed})" if missed else ""
            pictures.append(Picture(f"filters-{row.number}", words, png=drawings.filters(found.weights)))
    title = "Filters of the first convolution at the best epoch, each from black to white"
    return [Pictures(title, tuple(pictures), min(2, len(pictures)))] if pictures else []


def _settings_table(config: Settings, title: str = "All settings", without: Sequence[str] = ()) -> Grid:
    """Settings in two columns."""
    pairs = [(path, shown(value)) for path, value in config.items() if path not in without]
    half = -(-len(pairs) // 2)
    others = [*pairs[half:], ("", "")][:half]
    rows = tuple((*pair, *other) for pair, other in zip(pairs[:half], others, strict=True))
    return Grid(title, ("setting", "value", "setting", "value"), rows)


def _study_settings(result: StudyResult) -> list[Block]:
    """The settings that all runs share, and the presets' notes on settings."""
    configs = [row.config for row in result.rows if row.config]
    if not configs:
        return []
    blocks: list[Block] = [Table(_settings_table(configs[0], "Settings that all runs share", differing_paths(configs)))]
    notes = tuple((path, note) for path, note in result.study.notes.items())
    return [*blocks, Table(Grid("Notes on settings", ("setting", "note"), notes))] if notes else blocks


def _facts(row: ResultRow) -> Grid:
    return Grid("The run", ("", ""), tuple(fact_rows(row.record)))


def _environment(rows: Sequence[ResultRow]) -> Grid:
    """Machine, versions and data; with the runs that each applies to if they differ."""
    labels_of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, value in _environment_of(row).items():
            labels_of.setdefault((name, value), []).append(row.label)
    cells = tuple(
        (name, value if len(labels) == len(rows) else f"{value} ({', '.join(labels)})")
        for (name, value), labels in labels_of.items()
    )
    return Grid("Machine, versions and data", ("", ""), cells)


def _environment_of(row: ResultRow) -> Mapping[str, str]:
    header = read_row(row.folder).header if row.folder else {}
    found = {"device": name_text(row.record.started)} if row.record.started else {}
    found |= {str(key): str(value) for key, value in as_mapping(header.get("environment")).items() if value is not None}
    data = as_mapping(header.get("data"))
    if data.get("sha256"):
        found["data set"] = f"{data.get('name')}, SHA-256 {str(data.get('sha256'))[:16]}…"
    return found


def _commands(rows: Sequence[ResultRow]) -> list[Block]:
    """The commands that reproduce the runs, with the files of unknown presets."""
    lines: list[str] = []
    files: dict[str, str] = {}
    for row in rows:
        known = row.preset in presets.names()
        if not known and row.config:
            files.setdefault(tomli_w.dumps(nested(row.config)), f"run-{row.number}.toml")
        lines.append(run_command(row) if known else f"torchdeck run run-{row.number}.toml")
    blocks: list[Block] = [Code("\n".join(dict.fromkeys(lines)))] if lines else []
    for content, name in files.items():
        blocks += [Paragraph(f"where {name} contains:"), Code(content)]
    return blocks


def _study_command(study: Study) -> list[Block]:
    """The command that reproduces the whole study; none for runs that were only compared."""
    given = " ".join(map(shlex.quote, study.given))
    match study.kind:
        case _ if study.name in study_names():
            line = f"torchdeck study {study.name} {given}"
        case "grid" if given:
            line = f"torchdeck sweep {study.preset} {given}"
        case "search" if study.search and given:
            searched = f"--trials {study.search.trials} --pruner {study.search.pruner}"
            line = f"torchdeck search {study.preset} {given} {searched}"
        case _:
            return []
    return [Code(line.strip()), Paragraph("Or run by run:")]
