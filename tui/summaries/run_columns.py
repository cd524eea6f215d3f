"""The columns of the table of runs: their cells, their sort keys, and which of them fit a width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.style import Style
from rich.text import Text

from ...core.runs.index import RunRow
from ..format.columns import fitted
from ..format.values import duration, percent, safe
from .run_settings import changes, label, setting, shown

BAR = 8
MAX_CELL_LENGTH = 200
FIGURES, COMFORT = 11, 12
"""Columns beyond this rank are shown only if the names keep so many more cells."""
Key = float | str | None


class Glyph(NamedTuple):
    """The sign of a status, its sign in ASCII, and its ink."""

    sign: str
    ascii_sign: str
    ink: str


GLYPHS = {
    "completed": Glyph("✓", "+", "good"),
    "running": Glyph("●", "*", "accent"),
    "paused": Glyph("‖", "=", "warn"),
    "stopped": Glyph("■", "#", "warn"),
    "failed": Glyph("✗", "x", "bad"),
    "died": Glyph("†", "!", "bad"),
    "handed_over": Glyph("→", ">", "accent"),
}
UNKNOWN = Glyph("?", "?", "bad")
INKS = ("good", "warn", "bad", "accent", "bar", "track", "quiet", "strong", *(f"chart-{ink}" for ink in range(8)))


@dataclass(frozen=True, slots=True)
class Look:
    """What a cell's look depends on besides its run: styles, ASCII mode, time, marked runs."""

    inks: Mapping[str, Style]
    ascii_only: bool
    now: float
    marked: frozenset[str]

    def ink(self, name: str) -> Style:
        """The style of an ink; a null style if there is none."""
        return self.inks.get(name, Style.null())

    def glyph(self, status: str) -> tuple[str, Style]:
        """The sign of a status, and its style."""
        glyph = GLYPHS.get(status, UNKNOWN)
        return glyph.ascii_sign if self.ascii_only else glyph.sign, self.ink(glyph.ink)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `rank` is the order in which columns get room, `most` the width to which it grows."""

    key: str
    title: str
    width: int
    rank: int
    cell: Callable[[RunRow, Look], Text]
    sort_key: Callable[[RunRow], Key]
    right: bool = False
    highest_first: bool = False
    most: int = 0

    @property
    def widest(self) -> int:
        """The width to which it grows where there is room."""
        return max(self.width, self.most)


class Order(NamedTuple):
    """The column to sort by, and whether its usual direction is reversed."""

    key: str = "age"
    reverse: bool = False


def fitting(width: int, rows: Sequence[RunRow] = ()) -> list[tuple[Column, int]]:
    """The columns of a table of runs that fit a width, in their order, with their widths.

    Tags have a column only if a run has some, the number of devices only if a run has several.
    """
    useless = {"tags"} if not any(row.tags for row in rows) else set[str]()
    useless |= {"devices"} if all(devices(row) == 1 for row in rows) else set[str]()
    columns = [column for column in COLUMNS if column.key not in useless]
    return fitted(columns, width, lambda column: COMFORT if column.rank > FIGURES else 0)


def in_order(rows: Sequence[RunRow], order: Order) -> list[RunRow]:
    """The runs sorted; runs without a value come last in both directions."""
    column = BY_KEY.get(order.key, BY_KEY["age"])
    keyed = [(column.sort_key(row), row) for row in rows]
    with_key = sorted(((key, row) for key, row in keyed if key is not None), key=lambda pair: (pair[0], pair[1].id))
    if is_descending(order):
        with_key.reverse()
    return [row for _, row in with_key] + [row for key, row in keyed if key is None]


def is_descending(order: Order) -> bool:
    """Whether the highest value comes first."""
    return BY_KEY.get(order.key, BY_KEY["age"]).highest_first != order.reverse


def title(column: Column, order: Order, look: Look) -> Text:
    """A column's header, with an arrow if the table is sorted by it."""
    mark = ("▼v" if is_descending(order) else "▲^")[look.ascii_only] if column.key == order.key else ""
    return Text(column.title + mark, style=look.ink("strong"), justify="right" if column.right else "left", end="")


def number(value: Any) -> float | None:
    """A value from a log if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def accuracy(row: RunRow) -> float | None:
    """The test accuracy at the best epoch."""
    return number(row.figure("test/accuracy"))


def final(row: RunRow, metric: str = "test/accuracy") -> float | None:
    """A metric at the last epoch."""
    values = row.summary.get("final")
    return number(values.get(metric)) if isinstance(values, Mapping) else None


def devices(row: RunRow) -> float:
    """The number of devices that the run trains on."""
    return max(1.0, number(row.summary.get("devices")) or 1.0)


def name_of(row: RunRow) -> str:
    """A run's name, else its preset."""
    return safe(row.name or row.preset or "?")


def changes_text(row: RunRow) -> str:
    """The settings that differ from the preset, in short form."""
    parts = [f"{label(path).replace(' ', '-')}={shown(value)}" for path, value in changes(row).items()]
    return " ".join(parts)


def age(seconds: float) -> str:
    """An age in its largest unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:,.0f} {unit}"
    return "now"


def bar(fraction: float | None, width: int, look: Look) -> Text:
    """A small bar; its track is thinner, so that it is readable without colour."""
    filled = round(min(1.0, max(0.0, fraction or 0.0)) * width)
    full, rest = ("#", "-") if look.ascii_only else ("━", "─")
    return Text(end="").append(full * filled, look.ink("bar")).append(rest * (width - filled), look.ink("track"))


def _status(row: RunRow, look: Look) -> Text:
    """The mark for comparison, and the sign of the status."""
    sign, style = look.glyph(row.status)
    mark = "@" if look.ascii_only else "◉"
    return _left(mark if row.id in look.marked else " ", look.ink("strong")).append(f" {sign}", style)


def _name(row: RunRow, look: Look) -> Text:
    failed = row.status in ("failed", "died", "unreadable", "unknown")
    text = _left(name_of(row), look.ink("quiet") if failed else Style.null())
    about = row.problem if row.status == "unreadable" else changes_text(row)
    return text.append(f"  {safe(about)[:MAX_CELL_LENGTH]}", look.ink("quiet")) if about else text


def _best(row: RunRow, look: Look) -> Text:
    reached = accuracy(row)
    if reached is None:
        return Text("-", justify="right", end="", no_wrap=True)
    return bar(reached, BAR, look).append(percent(reached).rjust(9))


def _epochs(row: RunRow, look: Look) -> Text:
    done, planned = row.summary.get("epoch"), setting(row, "training.epochs")
    if number(done) is None and number(planned) is None:
        return _right("-")
    return _right(shown(done if number(done) is not None else 0)).append(f"/{shown(planned)}", look.ink("quiet"))


def _left(text: str, style: Style) -> Text:
    return Text(end="", no_wrap=True, overflow="ellipsis").append(text[:MAX_CELL_LENGTH], style)


def _right(text: str, style: Style | None = None) -> Text:
    made = Text(end="", no_wrap=True, overflow="ellipsis", justify="right")
    return made.append(text[:MAX_CELL_LENGTH], style or Style.null())


def _setting(path: str, numeric: bool = False) -> tuple[Callable[[RunRow, Look], Text], Callable[[RunRow], Key]]:
    """The cell and the sort key of a setting."""

    def cell(row: RunRow, look: Look) -> Text:
        value = setting(row, path)
        return _right(shown(value)) if numeric else _left(shown(value), look.ink("quiet"))

    def sort_key(row: RunRow) -> Key:
        value = setting(row, path)
        return number(value) if numeric else shown(value)

    return cell, sort_key


def _summary(name: str, show: Callable[[float | None], str]) -> tuple[Callable[..., Text], Callable[[RunRow], Key]]:
    """The cell and the sort key of a number in the summary."""
    return (lambda row, _: _right(show(number(row.summary.get(name))))), lambda row: number(row.summary.get(name))


def _loss(row: RunRow) -> float | None:
    return number(row.figure("test/loss"))


def _share(row: RunRow) -> float | None:
    return number(row.summary.get("epoch"))


def _tags(row: RunRow) -> str:
    return safe(" ".join(row.tags))


COLUMNS: tuple[Column, ...] = (
    Column("status", "", 3, 0, _status, lambda row: row.status),
    Column("run", "run", 4, 1, lambda row, _: _left(safe(row.id[-4:]), Style.null()), lambda row: row.id[-4:]),
    Column("name", "name", 16, 1, _name, lambda row: name_of(row).lower(), most=44),
    Column("preset", "preset", 18, 15, lambda row, look: _left(safe(row.preset), look.ink("quiet")),
           lambda row: row.preset, most=24),
    Column("model", "model", 12, 16, *_setting("model.name")),
    Column("data", "data", 10, 13, *_setting("data.name")),
    Column("lr", "lr", 7, 4, *_setting("optimizer.lr", numeric=True), right=True),
    Column("batch", "batch", 6, 9, *_setting("training.batch_size", numeric=True), right=True),
    Column("epochs", "epochs", 8, 5, _epochs, _share, right=True, highest_first=True),
    Column("best", "best acc", 17, 2, _best, accuracy, highest_first=True),
    Column("final", "final", 8, 10, lambda row, _: _right(percent(final(row))), final, right=True, highest_first=True),
    Column("loss", "loss", 7, 6, lambda row, _: _right("-" if (loss := _loss(row)) is None else f"{loss:.3f}"), _loss,
           right=True),
    Column("time", "time", 8, 7, *_summary("train_seconds", duration), right=True),
    Column("speed", "img/s", 9, 14, *_summary("images_per_second", lambda n: "-" if n is None else f"{n:,.0f}"),
           right=True, highest_first=True),
    Column("devices", "devices", 7, 8, lambda row, _: _right(f"{devices(row):,.0f}"), devices, right=True,
           highest_first=True),
    Column("age", "age", 6, 3, lambda row, look: _right(age(look.now - row.created) if row.created else "-",
           look.ink("quiet")), lambda row: -row.created, right=True),
    Column("tags", "tags", 10, 11, lambda row, look: _left(_tags(row), look.ink("accent")),
           lambda row: _tags(row) or None, most=24),
)  # fmt: skip
BY_KEY = {column.key: column for column in COLUMNS}
