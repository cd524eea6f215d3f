""""""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType

from ..terminal.broken_pipe import exit_on_broken_pipe

if TYPE_CHECKING:
    pass  # torch, seconds
from ..format.tables import WIDE


def print_table(*parts: RenderableType) -> None:
    """Print to stdout; where that is no terminal, wide enough that nothing is cut."""
    width = None if sys.stdout.isatty() else WIDE
    with exit_on_broken_pipe():
        _Console(width=width, highlight=False).print(*parts)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with the exit code of a failed run."""
        raise BrokenPipeError
