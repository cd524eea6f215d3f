"""ASCII mode: replace every other character on the screen by an ASCII one of the same width."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_REPLACEMENTS = {
    "╭╮╰╯┌┐└┘├┤┬┴┼╴╶": "+",
    "─━╌╍┄╸╺—–▔▁": "-",
    "│┃▏▕▎▍▌▐": "|",
    "▀▄█▂▃▅▆▇▉▊▋■": "#",
    "●◉•◆": "*",
    "○◯": "o",
    "✓": "+",
    "✗✕†": "x",
    "▲↑": "^",
    "▼↓": "v",
    "←◀": "<",
    "→▶": ">",
    "…·": ".",
    "⏎": "=",
}
_ASCII = {ord(sign): plain for signs, plain in _REPLACEMENTS.items() for sign in signs}


class AsciiOnly(LineFilter):
    """A Textual line filter that replaces non-ASCII characters."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's form
        return [segment if segment.text.isascii() else _plain(segment) for segment in segments]


def _plain(segment: Segment) -> Segment:
    return Segment(to_ascii(segment.text), segment.style, segment.control)


@lru_cache(4096)
def to_ascii(text: str) -> str:
    """The text in ASCII, as many cells wide as before."""
    return "".join(sign if sign.isascii() else _closest(sign) for sign in text.translate(_ASCII))


def _closest(sign: str) -> str:
    base = unicodedata.normalize("NFKD", sign)[0]
    return base if base.isascii() and cell_len(sign) == 1 else "?" * cell_len(sign)
