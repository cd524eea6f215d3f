"""The pictures of a report, by matplotlib: charts, confusion matrices and filters, with tokens for colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.results.chart_data import Figure
from ...core.results.class_metrics import Confusion
from ...core.utils.extras import extra_module
from ..charts.half_blocks import filter_images, tint_strengths, to_pixels
from ..charts.palette import ON_LIGHT
from ..format.values import percent, safe

INCHES = 10.0
"""The width of the page, at which 8-point text matches the tables."""
MAX_LABEL_LENGTH = 34
MAX_CLASSES = 30
MIN_FILTER_SIDE = 48
"""The smallest side of a filter's picture, in pixels."""

# Unique colours: each is replaced by a colour of the page, for light or dark mode.
SERIES = tuple(f"#c0ffe{number}" for number in range(8))
INK, QUIET, GRID = "#1a1a1e", "#6a6a6e", "#e4e4e9"
TOKENS = {
    **{color: f"chart-{number}" for number, color in enumerate(SERIES)},
    INK: "ink",
    QUIET: "quiet",
    GRID: "grid",
}
PAPER = {**ON_LIGHT, "ink": "#1d252d", "quiet": "#5f6973", "grid": "#e3e7ec"}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 8,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


def require_matplotlib() -> Any:
    """Import matplotlib.

    Raises:
        InputError: it is not installed.
    """
    return extra_module("matplotlib", "report", "a report")


def _draw(key: str, size: tuple[float, float], paint: Callable[[Any], None]) -> str:
    """An SVG of what `paint` draws on axes of this size in inches."""
    # matplotlib takes 0.8 s to import.
    matplotlib, figures = require_matplotlib(), extra_module("matplotlib.figure", "report", "a report")
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}), warnings.catch_warnings():
        # Warnings of glyphs that are missing in the font used for measuring; the reader's font has them.
        warnings.simplefilter("ignore")
        figure = figures.Figure(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
        paint(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    return _inlined(file.getvalue(), key)


_METADATA = ("Creator", "Date", "Format", "Type")


def _inlined(svg: str, key: str) -> str:
    """An SVG element that can be embedded with others in one page: no prolog, unique ids, no fixed size."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r"url\(#", f"url(#{key}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{key}-', body)
    body = body.replace('xlink:href="data:', 'href="data:')
    head, _, rest = body.partition(">")
    view = re.search(r'viewBox="[^"]*"', head)
    assert view, "matplotlib writes a viewBox"
    return f"<svg {view[0]}>{rest}"


def colored(svg: str, color: Callable[[str], str], font: str) -> str:
    """Replace the SVG's colour tokens by colours, and its font."""
    found = re.sub("|".join(TOKENS), lambda match: color(TOKENS[match[0]]), svg)
    # Depending on its version, matplotlib writes the font in one property or in two.
    found = re.sub(r"font: ([\d.]+px)[^;\"]*", rf"font: \1 {font}", found)
    return re.sub(r"font-family: [^;\"]*", f"font-family: {font}", found)


def chart(figure: Figure, columns: int = 1) -> str:
    """A chart for a page with `columns` charts side by side."""
    match figure.kind:
        case "lines":
            legend_rows = -(-(len(figure.series) + bool(figure.rules)) // _legend_columns(columns))
            size = (INCHES / columns, (3.2 if columns == 1 else 2.4) + 0.16 * legend_rows)
            return _draw(figure.key, size, lambda axes: _lines(axes, figure, columns))
        case "dots":
            size = (INCHES, 0.55 + 0.26 * len(figure.series))
            return _draw(figure.key, size, lambda axes: _dots(axes, figure))
        case "bars":
            size = (INCHES, 0.45 + 0.26 * len(figure.series))
            return _draw(figure.key, size, lambda axes: _bars(axes, figure))


def _lines(axes: Any, figure: Figure, columns: int) -> None:
    scale = 100 if figure.percent else 1
    for series in figure.series:
        color, y = SERIES[series.ink % len(SERIES)], series.y * scale
        if series.low is not None and series.high is not None:
            low, high = series.low * scale, series.high * scale
            axes.fill_between(series.x, low, high, color=color, alpha=0.28, linewidth=0)
        elif figure.smooth and len(y) > 100:
            axes.plot(series.x, y, color=color, alpha=0.28, linewidth=0.5)
        drawn = smoothed(y) if figure.smooth else y
        marker = "o" if len(y) == 1 else ""
        axes.plot(series.x, drawn, color=color, label=_label(series.label), marker=marker, markersize=4)
    for place, (value, _) in enumerate(figure.rules):
        # All share one entry of the legend: labels at the lines would hide each other.
        values = ", ".join(words.removeprefix("reported ") for _, words in figure.rules) if place == 0 else ""
        label = f"reported: {values}" if values else None
        axes.axhline(value * scale, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)), label=label)
    _fit(axes, figure, scale)
    axes.set_xlabel({"time": "training time in seconds"}.get(figure.x_unit, figure.x_unit))
    axes.yaxis.set_major_formatter(_percent_sign if figure.percent else _short)
    axes.xaxis.set_major_formatter(_thousands)
    axes.grid(axis="x", visible=False)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=_legend_columns(columns), borderaxespad=0.3, handlelength=1.4,
        columnspacing=1.4, fontsize=7.5,
    )  # fmt: skip


def _legend_columns(columns: int) -> int:
    return max(1, 4 // columns)


def _fit(axes: Any, figure: Figure, scale: float) -> None:
    """Limits that show the lines; spikes far above are cut off and annotated."""
    ends = [part for series in figure.series for part in (series.low, series.high, series.y) if part is not None]
    values = np.concatenate(ends) * scale
    values = values[np.isfinite(values)]
    if figure.y_range:
        values = np.array(figure.y_range) * scale
    if not len(values):
        return
    low, high, usual = float(values.min()), float(values.max()), float(np.quantile(values, 0.97))
    if not figure.percent and high - low > 3 * (usual - low) > 0:
        note = f"▲ up to {high:,.0f}" if high >= 100 else f"▲ up to {high:.3g}"
        axes.annotate(note, (0.99, 0.97), xycoords="axes fraction", ha="right", va="top", color=QUIET, fontsize=7)
        high = low + 1.2 * (usual - low)
    room = 0.05 * (high - low) or 0.5
    axes.set_ylim(low - room, high + room)


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A moving average over a window of 1 % of the steps, at most 50."""
    window = min(max(1, len(values) // 100), 50)
    if window == 1:
        return values
    filled = np.where(np.isfinite(values), values, np.nanmean(values[np.isfinite(values)]) if len(values) else 0.0)
    sums = np.cumsum(np.concatenate([np.full(window, filled[0]), filled]))
    return (sums[window:] - sums[:-window]) / window


def _percent_sign(value: float, _place: int) -> str:
    return f"{value:g} %"


def _short(value: float, _place: int) -> str:
    return f"{value:g}"


def _thousands(value: float, _place: int) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _dots(axes: Any, figure: Figure) -> None:
    """A row per run: its value as a dot, its interval as a line."""
    for series in figure.series:
        assert series.low is not None, "dots have intervals"
        assert series.high is not None, "dots have intervals"
        place, value = float(series.x[0]), 100 * float(series.y[0])
        low, high = 100 * float(series.low[0]), 100 * float(series.high[0])
        axes.plot([low, high], [place, place], color=SERIES[0], linewidth=2.4, alpha=0.45)
        axes.plot([value], [place], color=SERIES[0], marker="o", markersize=5)
        axes.annotate(
            f"{value:.2f}", (high, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    _row_labels(axes, figure)
    axes.xaxis.set_major_formatter(_percent_sign)
    axes.margins(x=0.08)


def _bars(axes: Any, figure: Figure) -> None:
    for series in figure.series:
        place, value = float(series.x[0]), float(series.y[0])
        axes.barh([place], [100 * value], height=0.55, color=SERIES[0], alpha=0.75)
        axes.annotate(
            percent(value, 1),
            (100 * value, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    _row_labels(axes, figure)
    axes.xaxis.set_major_formatter(_percent_sign)
    axes.margins(x=0.08)


def _row_labels(axes: Any, figure: Figure) -> None:
    labels = [_label(series.label) for series in figure.series]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", colors=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)


def _label(text: str) -> str:
    """A label for matplotlib, which would ignore one that starts with an underscore."""
    clean = safe(text)
    short = clean if len(clean) <= MAX_LABEL_LENGTH else clean[: MAX_LABEL_LENGTH - 1] + "…"
    return f"\u2009{short}" if short.startswith("_") else short


def confusion(key: str, matrix: Confusion, names: Sequence[str], columns: int = 1) -> str:
    """A confusion matrix: correct predictions in one colour, notable mistakes in another, and numbers of images."""
    side = min(5.2, INCHES / columns)
    return _draw(key, (side, side * 0.94), lambda axes: _confusion(axes, matrix, names))


def _confusion(axes: Any, matrix: Confusion, names: Sequence[str]) -> None:
    size, strengths = len(matrix), tint_strengths(matrix)
    rgba = np.zeros((size, size, 4))
    rgba[..., :3] = np.array([0.90, 0.45, 0.12])
    rgba[np.arange(size), np.arange(size), :3] = np.array([0.16, 0.50, 0.80])
    rgba[..., 3] = 0.78 * strengths
    axes.imshow(rgba, interpolation="none", aspect="equal")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if size > MAX_CLASSES:
        return
    labels = [_label(name)[:14] for name in names]
    axes.set_xticks(range(size), labels, rotation=45, ha="right", rotation_mode="anchor", color=INK)
    axes.set_yticks(range(size), labels, color=INK)
    for row, column in np.argwhere(np.array(matrix) > 0).tolist():
        axes.text(
            column, row, f"{matrix[row][column]}", ha="center", va="center", fontsize=7 if size <= 10 else 5,
            color=INK if strengths[row][column] else QUIET,
        )  # fmt: skip


def filters(weights: NDArray[np.float32]) -> bytes:
    """The filters of a first convolution as one PNG, each scaled from black to white."""
    # Pillow takes 0.05 s to import.
    from PIL import Image

    tiles = [to_pixels(image) for image in filter_images(weights, "each")]
    columns = len(tiles) if len(tiles) <= 10 else min(16, int(np.ceil(np.sqrt(2.5 * len(tiles)))))
    enlarged = max(4, MIN_FILTER_SIDE // max(tiles[0].shape[:2]))
    height, width = tiles[0].shape[0] + 1, tiles[0].shape[1] + 1
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * height - 1, columns * width - 1, 4), np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height - 1, left : left + width - 1, :3] = tile
        sheet[top : top + height - 1, left : left + width - 1, 3] = 255
    large = sheet.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    file = io.BytesIO()
    Image.fromarray(large, "RGBA").save(file, "PNG", optimize=True)
    return file.getvalue()
