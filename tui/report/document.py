"""What a report consists of, whatever form it is written in; all texts are plain and still to be escaped."""

from __future__ import annotations

from dataclasses import dataclass

from ..summaries.study_tables import Grid


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Prose."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences one below the other."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A numbered table."""

    grid: Grid


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG whose colours are tokens of `drawings`, or a PNG; with its caption."""

    key: str
    caption: str
    svg: str = ""
    png: bytes = b""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures side by side under one number; `columns` of them in a row where there is room."""

    title: str
    pictures: tuple[Picture, ...]
    columns: int = 1


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to copy."""

    text: str


Block = Paragraph | Bullets | TableBlock | Pictures | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A figure to see first: its value large, what it is above, a remark below."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A report: its head, its key figures, its sections; `about` are the facts of its title."""

    title: str
    summary: str
    about: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]
