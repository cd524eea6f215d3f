"""The charts of a study's result as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from rich.style import Style
from rich.text import Text

from ...core.results.chart_data import Figure, Series
from ..format.values import percent, safe
from .canvas import Cell
from .drawing import INKS, Line, Rule, View, draw, lettered
from .palette import ON_DARK

HEIGHT = 16
BAR_WIDTH = 30
SMOOTHING = 0.9
TINT = 0.35


def chart_text(figure: Figure, width: int, *, colors: bool = True, ascii_only: bool = False) -> Text:
    """A titled chart with its legend; without colours, the edges of a band are drawn as lines."""
    if figure.kind != "lines":
        return _bars(figure, width, ascii_only)
    parts = figure.series if colors else [end for series in figure.series for end in band_edges(series)]
    lines = lettered([chart_line(series, figure) for series in parts])
    rules = [Rule(value, label) for value, label in figure.rules]
    smoothing = SMOOTHING if figure.smooth else 0.0
    view = View(width, HEIGHT, figure.percent, smoothing=smoothing, x_unit=figure.x_unit, ascii=ascii_only)
    rows = [_row(row) for row in draw(lines, rules, view).rows]
    note = f"  {safe(figure.note)}" if figure.note else ""
    return Text("\n").join([Text(safe(figure.title), "bold").append(note, "dim"), _legend(lines, ascii_only), *rows])


def band_edges(series: Series) -> list[Series]:
    """A band as its lower and upper edge; any other series unchanged."""
    if series.low is None or series.high is None:
        return [series]
    edges = (("min", series.low), ("max", series.high))
    return [replace(series, label=f"{series.label} {word}", y=y, low=None, high=None) for word, y in edges]


def chart_line(series: Series, figure: Figure) -> Line:
    """A series as a line of a chart."""
    low, high = series.low, series.high
    return Line(safe(series.label), series.x, series.y, series.ink, smooth=figure.smooth, low=low, high=high)


def _legend(lines: Sequence[Line], ascii_only: bool) -> Text:
    sign = "-" if ascii_only else "━"
    parts = [
        Text().append(f"{line.letter} {sign} ", _style(f"series-{line.ink % INKS}", "")).append(line.label)
        for line in lines
    ]
    return Text("   ").join(parts)


def _row(cells: Sequence[Cell]) -> Text:
    row = Text(no_wrap=True)
    for (ink, tint), run in groupby(cells, key=lambda cell: (cell.ink, cell.tint)):
        row.append("".join(cell.char for cell in run), _style(ink, tint))
    return row


def _style(ink: str, tint: str) -> Style:
    return Style(color=_color(ink), bgcolor=_color(tint))


def _color(key: str) -> str | None:
    """The colour of a cell's key, readable on dark and on light backgrounds."""
    kind, _, number = key.partition("-")
    match kind:
        case "series":
            return ON_DARK[f"chart-{number}"]
        case "tint":
            return _dimmed(ON_DARK[f"chart-{number}"])
        case "axis" | "label" | "rule":
            return ON_DARK[f"chart-{kind}"]
        case "dim":
            return ON_DARK["chart-axis"]
        case _:
            return None


def _dimmed(color: str) -> str:
    parts = (round(int(color[at : at + 2], 16) * TINT) for at in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)


def _bars(figure: Figure, width: int, ascii_only: bool) -> Text:
    """A line per series: its label, a bar of its value, and the value."""
    labels = [safe(series.label) for series in figure.series]
    longest = min(max(map(len, labels), default=0), max(8, width - BAR_WIDTH - 12))
    rows = [Text(safe(figure.title), "bold")]
    for series, words in zip(figure.series, labels, strict=True):
        value = float(series.y[0])
        filled = round(BAR_WIDTH * min(1.0, max(0.0, value)))
        bar = ("#" if ascii_only else "━") * filled
        rows.append(
            Text(f"{words[:longest]:<{longest}}  ").append(bar, _style("series-0", "")).append(f" {percent(value, 1)}")
        )
    return Text("\n").join(rows)
