"""Axes of a chart: limits that ignore spikes, and round ticks that fall on cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MARGIN = 0.4  # how far, in rows, a value may lie from the centre of the outermost row
SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled tick at a row (counted from the bottom) or a column."""

    at: int
    label: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A vertical scale: `base` is the value at the centre of the lowest row, `unit` the height of a row."""

    base: float
    unit: float
    ticks: tuple[Tick, ...]

    def of(self, values: Floats) -> Floats:
        """Heights in rows, 0 being the centre of the lowest; clipped to what fits an integer."""
        return np.clip((values - self.base) / self.unit, -1e6, 1e6)


def limits(values: Floats) -> tuple[float, float]:
    """The range to show: that of all values, unless a few spikes would flatten the rest."""
    ordered = np.sort(values)
    low, high = float(ordered[0]), float(ordered[-1])
    spare = math.ceil(ordered.size * 0.05) if ordered.size >= 8 else 0
    usual_low, usual_high = float(ordered[spare]), float(ordered[-1 - spare])
    usual = usual_high - usual_low
    if usual <= 0:
        return low, high
    if high > usual_high + 5 * usual:
        high = usual_high + usual / 4
    if low < usual_low - 5 * usual:
        low = usual_low - usual / 4
    return low, high


def widened(low: float, high: float, pad: float | None = None) -> tuple[float, float]:
    """The range, widened if it is a single value."""
    if high - low > max(abs(low), abs(high), 1e-25) * 1e-9:
        return low, high
    size = max(abs(low), abs(high))
    pad = max(pad or (0.1 * size if size > 1e-25 else 0.5), size * 1e-6)
    return (max(0.0, low - pad) if low >= 0 else low - pad), high + pad


def even_rows(low: float, high: float, rows: int, *, percent: bool = False) -> Rows:
    """A linear scale whose round ticks fall exactly on rows, with the least unused height."""
    if percent:
        low, high = min(1.0, max(0.0, low)), min(1.0, max(0.0, high))
    low, high = widened(low, high, 0.05 if percent else None)
    if 0 < low < 0.15 * high:
        low = 0.0
    step, per_tick = _choose(low, high, rows)
    unit = step / per_tick
    first = math.floor(low / unit + MARGIN)
    if percent:
        first = max(0, min(first, round(1 / unit) - rows + 1))
    marked = [row for row in range(rows) if (first + row) % per_tick == 0]
    values = [(first + row) // per_tick * step for row in marked]
    if percent:
        marked = [row for row, value in zip(marked, values, strict=True) if value < 1 + step / 2]
        values = values[: len(marked)]
    return Rows(first * unit, unit, _ticks(marked, labels(values, step, percent=percent)))


def _choose(low: float, high: float, rows: int) -> tuple[float, int]:
    """The step between ticks, and the rows between them, that waste the least height."""
    smallest = (high - low) / (rows - 1 + 2 * MARGIN)
    ideal = min(4.0, max(1.5, rows / 5))
    exponent = math.floor(math.log10(smallest))
    best = (math.inf, 10.0 ** (exponent + 1), 1)
    for power in range(exponent, exponent + 3):
        for round_number in (1.0, 2.0, 2.5, 5.0):
            step = round_number * 10.0**power
            limit = min(8, math.floor(step / smallest))
            for per_tick in range(max(1, limit - 2), limit + 1):
                unit = step / per_tick
                top = (math.floor(low / unit + MARGIN) + rows - 1 + MARGIN) * unit
                if top < high:
                    continue
                waste = unit / smallest - 1 + 0.08 * abs(per_tick - ideal) + (0.05 if round_number == 2.5 else 0)
                best = min(best, (waste, step, per_tick))
    return best[1], best[2]


def log_rows(low: float, high: float, rows: int) -> Rows:
    """A logarithmic scale (base-10 exponents) whose round ticks are close enough to row centres to look exact."""
    if high - low < 1e-6:
        low, high = low - 0.1, high + 0.1
    smallest = (high - low) / (rows - 1 + 2 * MARGIN)
    best = (-math.inf, Rows(low, smallest, ()))
    for family in _round_exponents(low, high):
        # Anchored at a power of ten, twos and fives fall near rows more often than anchored at each other.
        anchor = float(family[np.argmin(np.abs(family - np.round(family)))])
        for unit in (*(smallest * (1 + stretch / 50) for stretch in range(26)), 1 / max(1, math.floor(1 / smallest))):
            base = anchor - math.ceil((anchor - low) / unit - MARGIN) * unit
            if unit < smallest or base + (rows - 1 + MARGIN) * unit < high:
                continue
            heights = (family - base) / unit
            marked, exponents = _on_rows(heights, family, rows)
            skipped = int(((heights > -0.5) & (heights < rows - 0.5)).sum()) - len(marked)
            score = 0.12 * (min(6, len(marked), 1 + rows // 3) - skipped) - (unit / smallest - 1)
            if score > best[0] + 1e-9:
                best = (score, Rows(base, unit, _ticks(marked, [_power_label(value) for value in exponents])))
    return best[1]


def _round_exponents(low: float, high: float) -> list[Floats]:
    """Candidate tick sets of a logarithmic axis: the exponents of round numbers."""
    first, last = math.floor(low), math.ceil(high)
    families: list[Floats] = [
        np.arange(math.ceil(low / stride) * stride, last + 1, stride, dtype=np.float64) for stride in (1, 2, 5, 10)
    ]
    if high - low <= 4:
        families.append(
            np.concatenate([[power, power + math.log10(2), power + math.log10(5)] for power in range(first, last + 1)])
        )
    if high - low < 1:
        for wanted in (3, 5, 8):
            step = nice_step((10.0**high - 10.0**low) / wanted)
            numbers = np.arange(max(1, math.ceil(10.0**low / step)), math.floor(10.0**high / step) + 1) * step
            families.append(np.log10(numbers))
    inside = [family[(family >= low - 0.001) & (family <= high + (high - low) / 8)] for family in families]
    return [family for family in inside if 0 < family.size <= 60]


def _on_rows(heights: Floats, exponents: Floats, rows: int) -> tuple[list[int], list[float]]:
    """The rows and exponents of ticks within an eighth of a row of its centre, at least two rows from each other."""
    marked: list[int] = []
    kept: list[float] = []
    for height, exponent in zip(heights.tolist(), exponents.tolist(), strict=True):
        row = round(height)
        if abs(height - row) <= 0.125 and 0 <= row < rows and (not marked or row - marked[-1] >= 2):
            marked.append(row)
            kept.append(exponent)
    return marked, kept


def _power_label(exponent: float) -> str:
    """10 to this exponent, in its shortest form."""
    value = 10.0**exponent
    if 1e-3 <= value < 1e4 or exponent != round(exponent):
        return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"1e{round(exponent)}"


def nice_step(minimum: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is at least `minimum`."""
    power = 10.0 ** math.floor(math.log10(minimum))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= minimum * 0.999999), 10 * power)


def column_ticks(low: float, high: float, columns: int, unit_width: int, *, whole: bool = False) -> list[Tick]:
    """Round ticks along x, `whole` numbers if they fit, with room for their labels and for the unit at the right."""
    span = high - low
    step = nice_step(max(span * 4 / max(4, columns), 1.0 if whole and span >= 1 else 0.0))
    numbers, texts = _multiples(low, high, step)
    while len(texts) > 1 and step / span * (columns - 1) < max(map(len, texts)) + 3:
        step = nice_step(step * 1.5)
        numbers, texts = _multiples(low, high, step)
    places = [(round((number - low) / span * (columns - 1)), text) for number, text in zip(numbers, texts, strict=True)]
    room = columns - unit_width - (2 if unit_width else 0)
    return [Tick(at, text) for at, text in places if at + (len(text) + 1) // 2 <= room]


def _multiples(low: float, high: float, step: float) -> tuple[list[float], list[str]]:
    """The multiples of a step within a range, and their labels."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    numbers = [number * step for number in range(first, last + 1)]
    return numbers, labels(numbers, step)


def labels(values: Sequence[float], step: float, *, percent: bool = False) -> list[str]:
    """The labels of one axis, all in the same form: the decimals that the step needs, k and M for large numbers."""
    if percent:
        return [f"{100 * value:.{_decimals(100 * step)}f}%" for value in values]
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1e15 or step < 1e-4:
        return [_scientific(value, step) for value in values]
    if largest < 1e4:
        return [f"{value:.{_decimals(step)}f}" for value in values]
    scale, suffix = next((scale, suffix) for scale, suffix in SUFFIXES if largest >= scale)
    return [f"{value / scale:.{_decimals(step / scale)}f}{suffix}" if value else "0" for value in values]


def _decimals(step: float) -> int:
    """The decimals that write a step exactly."""
    return next(
        (digits for digits in range(9) if abs(step * 10**digits - round(step * 10**digits)) < 1e-6 * step * 10**digits),
        9,
    )


def _scientific(value: float, step: float) -> str:
    """A number in scientific notation, without trailing zeros."""
    if not value:
        return "0"
    digits = max(0, min(12, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) + 1))
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def _ticks(rows: Sequence[int], texts: Sequence[str]) -> tuple[Tick, ...]:
    return tuple(Tick(row, text) for row, text in zip(rows, texts, strict=True))
