"""The columns of study tables: the runs of a study, its workers, and the list of studies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from ...core.results.comparison import Standing
from ...core.results.run_result import Accuracy, ResultRow
from ...core.results.study_result import varied
from ...core.studies.model import DONE, Study, StudyRun
from ..format.columns import TextColumn
from ..format.values import count, duration, percent, points, safe
from ..state.study_reader import StudyEntry, StudySnapshot
from ..state.study_workers import WorkerStatus
from .run_columns import GLYPHS, UNKNOWN, Glyph, Look, age, bar
from .run_settings import label, shown

SIGNS = {
    **GLYPHS,
    "waiting": Glyph("○", "o", "quiet"),
    "pruned": Glyph("▼", "v", "warn"),
    "unfinished": Glyph("■", "#", "warn"),
    "starting": Glyph("●", "*", "quiet"),
    "ready": Glyph("○", "o", "quiet"),
}
MAX_SETTINGS = 6
WORKER_BAR, PLACE = 10, 18
"""Cells of a worker's progress bar, and of its place before that column grows."""
MAX_TEXT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One run of a study, with its results."""

    run: StudyRun
    row: ResultRow | None
    standing: Standing | None
    settings: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its key in a table: the run's number."""
        return str(self.run.number)

    @property
    def run_id(self) -> str:
        """The id of its run folder; "" if it has none."""
        return self.run.run_id or ""


def lines_of(snapshot: StudySnapshot) -> list[Line]:
    """A line per run, in the study's order."""
    rows = {row.number: row for row in snapshot.result.rows}
    standing_of = {
        found.number: found for found in reversed(snapshot.result.standings) if found.figure.metric == "test/accuracy"
    }
    paths = settings_of(snapshot.study)
    return [
        Line(
            run,
            rows.get(run.number),
            standing_of.get(run.number),
            tuple(_settings(snapshot, rows.get(run.number), paths)),
        )
        for run in snapshot.study.runs
    ]


def settings_of(study: Study) -> tuple[str, ...]:
    """The settings with a column: those that vary, up to `MAX_SETTINGS`."""
    return study.varied[:MAX_SETTINGS]


def _settings(snapshot: StudySnapshot, row: ResultRow | None, paths: Iterable[str]) -> Iterable[str]:
    given = varied(snapshot.result.study, row) if row else {}
    return (safe(shown(given.get(path))) for path in paths)


def sign(state: str, look: Look) -> Text:
    """The sign of a state, styled."""
    glyph = SIGNS.get(state, UNKNOWN)
    return Text(glyph.ascii_sign if look.ascii_only else glyph.sign, look.ink(glyph.ink))


def run_columns(snapshot: StudySnapshot, lines: Sequence[Line], look: Look) -> list[TextColumn]:
    """The columns of a study's runs; a list has labels, a grid or search its varied settings instead."""
    named = snapshot.study.kind == "list" or not snapshot.study.varied
    paths = settings_of(snapshot.study)
    best = snapshot.result.best
    gap = "regularization" in snapshot.study.shows

    def figures(key: str, title: str, rank: int, text: Callable[[Line], str]) -> TextColumn:
        return TextColumn(key, title, tuple(Text(text(line), justify="right") for line in lines), rank, True)

    def marked_best(line: Line) -> Text:
        style = look.ink("good") + Style(bold=True) if best and line.row is best else Style.null()
        return Text(_value(line.row.best if line.row else None), style, justify="right")

    def words(key: str, title: str, rank: int, text: Callable[[Line], str], grows: bool = False) -> TextColumn:
        cells = tuple(Text(text(line)[:MAX_TEXT_LENGTH], no_wrap=True, overflow="ellipsis") for line in lines)
        return TextColumn(key, title, cells, rank, grows=grows)

    names = [words("run", "run", 1, lambda line: safe(line.run.label), grows=True)] if named else []
    settings = [
        figures(path, label(path)[:16], 12 + place if named else 2, lambda line, at=place: line.settings[at])
        for place, path in enumerate(paths)
    ]
    found = [
        TextColumn("sign", "", tuple(_marked_sign(line, look) for line in lines), 0),
        figures("number", "#", 1, lambda line: line.key),
        *names,
        *settings,
        words("state", "state", 9, lambda line: line.run.state),
        figures("epoch", "epoch", 4, _epochs),
        TextColumn("best", "best acc", tuple(map(marked_best, lines)), 3, True),
        figures("interval", "95 %", 6, lambda line: _ends(line.row.best if line.row else None)),
        figures("final", "final", 5, lambda line: _value(line.row.final if line.row else None)),
        figures("gap", "gap", 5 if gap else 11, lambda line: _gap(line.row)),
        figures("reported", "reported", 7, lambda line: percent(line.standing.figure.value if line.standing else None)),
        words("outcome", "outcome", 8, lambda line: line.standing.words if line.standing else "-"),
        figures("time", "time", 10, lambda line: duration(line.row.train_seconds if line.row else None)),
        words("reason", "reason", 8, lambda line: safe(line.run.reason), grows=True),
    ]
    hidden = {"reported", "outcome"} if not any(line.standing for line in lines) else set[str]()
    hidden |= set() if any(line.run.reason for line in lines) else {"reason"}
    return [column for column in found if column.key not in hidden]


def worker_columns(workers: Sequence[WorkerStatus], look: Look) -> list[TextColumn]:
    """The columns of a study's workers: place, run, and progress."""

    def figures(key: str, title: str, rank: int, text: Callable[[WorkerStatus], str]) -> TextColumn:
        return TextColumn(key, title, tuple(Text(text(item), justify="right") for item in workers), rank, True)

    def called(item: WorkerStatus) -> Text:
        text = Text(safe(item.run.label if item.run else "")[:MAX_TEXT_LENGTH], no_wrap=True, overflow="ellipsis")
        before = "  " if text and item.doing else ""
        return text.append(f"{before}{safe(item.doing)[:MAX_TEXT_LENGTH]}", look.ink("quiet"))

    where = (Text(safe(item.place or "-")[:MAX_TEXT_LENGTH], no_wrap=True, overflow="ellipsis") for item in workers)
    return [
        TextColumn("place", "where", tuple(where), 1, most=PLACE, grows=True),
        figures("number", "#", 0, lambda item: str(item.run.number) if item.run else ""),
        TextColumn("run", "run", tuple(map(called, workers)), 4, grows=True),
        TextColumn("share", "", tuple(bar(item.share, WORKER_BAR, look) for item in workers), 7),
        figures("epoch", "epoch", 2, lambda item: f"{item.epoch}/{shown(item.epochs)}" if item.run else "-"),
        figures("speed", "img/s", 6, lambda item: count(item.speed)),
        figures("accuracy", "best acc", 3, lambda item: percent(item.accuracy)),
        figures("left", "left", 5, lambda item: duration(item.seconds_left)),
    ]


def _marked_sign(line: Line, look: Look) -> Text:
    mark = "@" if look.ascii_only else "◉"
    marked = line.run_id in look.marked
    return Text(mark if marked else " ", look.ink("strong")).append(" ").append_text(sign(line.run.state, look))


def _epochs(line: Line) -> str:
    started = line.row.record.started if line.row else None
    planned = started.epochs if started else line.run.config.get("training", {}).get("epochs", "?")
    return f"{line.row.epochs if line.row else 0}/{shown(planned)}"


def _value(accuracy: Accuracy | None) -> str:
    return percent(accuracy.value if accuracy else None)


def _ends(accuracy: Accuracy | None) -> str:
    found = accuracy.interval if accuracy else None
    return f"{100 * found.low:.1f}-{100 * found.high:.1f}" if found else "-"


def _gap(row: ResultRow | None) -> str:
    return points(None if row is None else row.gap, " pt")


def share_done(snapshot: StudySnapshot) -> float:
    """The fraction of a study that is done, including the epochs of unfinished runs."""
    rows = {row.number: row for row in snapshot.result.rows}
    parts = [1.0 if run.state in DONE else _share(rows.get(run.number)) for run in snapshot.study.runs]
    return sum(parts) / max(1, snapshot.study.planned)


def _share(row: ResultRow | None) -> float:
    started = row.record.started if row else None
    return min(1.0, row.epochs / max(1, started.epochs)) if row and started else 0.0


def list_columns(entries: Sequence[StudyEntry], look: Look) -> list[TextColumn]:
    """The columns of the list of studies: those in the logs, and those that are ready to start."""

    def words(key: str, title: str, rank: int, text: Callable[[StudyEntry], str], **more: bool) -> TextColumn:
        side = "right" if more.get("right") else "left"
        made = tuple(
            Text(text(entry)[:MAX_TEXT_LENGTH], justify=side, no_wrap=True, overflow="ellipsis") for entry in entries
        )
        return TextColumn(key, title, made, rank, **more)

    return [
        TextColumn("sign", "", tuple(sign(entry.status, look) for entry in entries), 0),
        words("id", "id", 2, lambda entry: safe(entry.folder.name[-4:]) if entry.folder else ""),
        words("name", "study", 1, lambda entry: safe(entry.name)),
        words("status", "status", 3, lambda entry: entry.status),
        words("runs", "runs", 4, _done, right=True),
        words("age", "age", 5, lambda entry: _age(entry, look), right=True),
        words("title", "title", 6, lambda entry: safe(entry.study.title if entry.study else entry.problem), grows=True),
    ]


def _done(entry: StudyEntry) -> str:
    study = entry.study
    if study is None:
        return "-"
    return f"{sum(study.count(state) for state in DONE)}/{study.planned}" if entry.folder else str(study.planned)


def _age(entry: StudyEntry, look: Look) -> str:
    return age(look.now - entry.study.created) if entry.folder and entry.study else ""
