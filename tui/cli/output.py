"""Print tables on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

from ..format.tables import WIDE, table
from ..format.values import safe
from ..terminal.broken_pipe import exit_on_broken_pipe

if TYPE_CHECKING:
    from ..summaries.study_tables import Grid


def print_table(*parts: RenderableType) -> None:
    """Print to stdout; where that is no terminal, wide enough that nothing is cut."""
    width = None if sys.stdout.isatty() else WIDE
    with exit_on_broken_pipe():
        _Console(width=width, highlight=False).print(*parts)


def terminal_width() -> int:
    """The width that `print_table` prints in, in cells."""
    return _Console(highlight=False).width if sys.stdout.isatty() else WIDE


def has_colors() -> bool:
    """Whether stdout shows colours."""
    return _Console().color_system is not None


def grid_parts(grid: Grid) -> list[RenderableType]:
    """A grid as a table with the best row in bold, and its note."""
    rows = [
        tuple(Text(safe(cell), "bold" if place in grid.strong else "") for cell in row)
        for place, row in enumerate(grid.rows)
    ]
    shown = table(grid.columns, rows, grid.title, frozenset(map(str, grid.right)))
    return [shown, Text(safe(grid.note), "dim")] if grid.note else [shown]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with the exit code of a failed run."""
        raise BrokenPipeError
