"""The parts of a report, independent of its format; texts are plain, each format escapes them."""

from __future__ import annotations

from dataclasses import dataclass

from ..summaries.study_tables import Grid


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A numbered table."""

    grid: Grid


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG whose colours are tokens of `plots`, or a PNG; with its caption."""

    key: str
    caption: str
    svg: str = ""
    png: bytes = b""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A numbered figure of one or more pictures, `columns` of them side by side if there is room."""

    title: str
    pictures: tuple[Picture, ...]
    columns: int = 1


@dataclass(frozen=True, slots=True)
class Code:
    """Commands or a file to copy."""

    text: str


Block = Paragraph | Bullets | TableBlock | Pictures | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its blocks."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A key figure at the top: its name, its value in large type, and a remark."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A report: title, summary, key figures and sections; `about` lists id, date and the like."""

    title: str
    summary: str
    about: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]
