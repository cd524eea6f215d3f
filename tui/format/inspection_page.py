"""The tables of `torchdeck data inspect`: splits, classes, and problems of a folder of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from ...core.data.inspection import Inspection
from .bars import halves
from .tables import table
from .values import count, size

MAX_ROWS = 20
BAR_WIDTH = 30


def inspection_page(found: Inspection) -> Group:
    """Facts, classes, ignored and unreadable files, duplicates across splits; at most `MAX_ROWS` each."""
    layout = found.dataset.layout
    unreadable = [(file.name, file.fault) for file in found.files if file.fault]
    parts: list[RenderableType] = [table(["", ""], _facts(found)), _classes(found)]
    parts += _table(["ignored", "why", "files"], [(item.path, item.why, item.files) for item in layout.ignored], "2")
    parts += _table(["cannot be read", "why"], unreadable)
    parts += _table(["the same image in two splits"], [(" = ".join(names),) for names in found.duplicates])
    parts += _table(["note"], [(note,) for note in layout.notes])
    return Group(*parts)


def _facts(found: Inspection) -> Iterable[tuple[str, str]]:
    options, layout = found.dataset.options, found.dataset.layout
    yield "path", str(found.dataset.path)
    for split in found.dataset.splits:
        yield split, f"{count(sum(found.classes(split).values()))} images ({layout.folders[split]})"
    yield "classes", f"{count(len(layout.classes))}, the largest {found.imbalance:.3g} times the smallest"
    sizes = (f"{name} {width} x {height}" for name, (width, height) in found.sizes.items())
    yield "width x height", ", ".join(sizes) or "-"
    yield "formats", _counted(found.count("format"))
    yield "modes", _counted(found.count("mode"))
    for mode, (low, high) in found.value_ranges.items():
        yield f"values of {mode}", f"{low:g} to {high:g} (data.value_range={options.value_range})"
    yield f"at data.size={options.size}", f"{size(found.cache_bytes)} of cache; {_moments(found)}"
    yield "suggested", f"data.size={found.suggested_size}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count(number)} {name}" for name, number in counts.items()) or "-"


def _moments(found: Inspection) -> str:
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (found.mean, found.std))
    return f"mean {mean or '-'}; deviation {std or '-'}"


def _classes(found: Inspection) -> Table:
    """A row per class: its images in each split, and a bar for those of the training split."""
    splits = found.dataset.splits
    counts = [found.classes(split) for split in splits]
    largest = max(counts[0].values())
    rows = [
        (name, *(count(each[name]) for each in counts), halves(BAR_WIDTH, number / largest)[0] or "·")
        for name, number in counts[0].items()
    ]
    right = "".join(str(place) for place in range(1, len(splits) + 1))
    return table(["class", *splits, ""], rows, right=right)


def _table(columns: Sequence[str], rows: Sequence[tuple[object, ...]], right: str = "") -> list[Table]:
    """A table of the first rows and the number of others; none if there are no rows."""
    rest = len(rows) - MAX_ROWS
    more = [(f"and {rest:,} more: --json lists them", *[""] * (len(columns) - 1))] if rest > 0 else []
    return [table(columns, [*rows[:MAX_ROWS], *more], right=right)] if rows else []
