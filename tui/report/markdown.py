"""Write a report as Markdown, with its pictures as files in a folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from ..format.values import safe
from ..summaries.study_tables import Grid
from .document import Block, Bullets, Code, Document, Paragraph, Picture, Pictures, TableBlock
from .plots import PAPER, colored

Number = Callable[[], int]
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def to_markdown(document: Document, folder: str) -> str:
    """The report as Markdown; its pictures are in `folder`."""
    tables, figures = itertools.count(1), itertools.count(1)
    lines = [f"# {_text(document.title)}", ""]
    lines += [_text(document.summary), ""] if document.summary else []
    lines += [" · ".join(map(_text, document.about)), ""]
    lines += [
        f"- {_text(item.name)}: **{_text(item.value)}**" + (f" ({_text(item.remark)})" if item.remark else "")
        for item in document.key_figures
    ]
    for place, section in enumerate(document.sections, 1):
        lines += ["", f"## {place}. {_text(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block(block, folder, lambda: next(tables), lambda: next(figures))]
    return "\n".join(lines) + "\n"


def files_of(document: Document) -> dict[str, bytes]:
    """The picture files: name and content."""
    blocks = [block for section in document.sections for block in section.blocks]
    return {
        _name(picture): picture.png or _svg_file(picture.svg)
        for block in blocks
        if isinstance(block, Pictures)
        for picture in block.pictures
    }


def _name(picture: Picture) -> str:
    return f"{picture.key}.{'png' if picture.png else 'svg'}"


def _svg_file(svg: str) -> bytes:
    """An SVG as a file of its own, with a white background."""
    made = colored(svg, lambda name: PAPER[name], "Helvetica, Arial, sans-serif")
    space = 'xmlns="http://www.w3.org/2000/svg"'
    opened, _, rest = made.replace("<svg ", f"<svg {space} ", 1).partition(">")
    return f'{opened}><rect width="100%" height="100%" fill="#ffffff"/>{rest}'.encode()


def _text(text: str) -> str:
    """Plain text with all characters escaped that have a meaning in Markdown or HTML."""
    return _MARKS.sub(r"\\\1", safe(text))


def _block(block: Block, folder: str, table: Number, number: Number) -> Iterator[str]:
    match block:
        case Paragraph():
            yield _text(block.text)
        case Bullets():
            yield from (f"- {_text(item)}" for item in block.items)
        case Code():
            # Indented: the content could close a fence.
            yield from (f"    {safe(line)}" for line in block.text.splitlines())
        case TableBlock():
            yield from _table(block.grid, table())
        case Pictures():
            yield from (f"![{_text(item.caption)}]({quote(folder)}/{_name(item)})" for item in block.pictures)
            caption = "; ".join(filter(None, [block.title, *(item.caption for item in block.pictures)]))
            yield ""
            yield f"**Figure {number()}.** {_text(caption)}"


def _table(grid: Grid, number: int) -> Iterator[str]:
    yield f"**Table {number}.** {_text(grid.title)}"
    yield ""
    yield _row(tuple(map(_text, grid.columns)))
    yield _row(tuple("---:" if place in grid.right else "---" for place in range(len(grid.columns))))
    for place, row in enumerate(grid.rows):
        cells = tuple(map(_text, row))
        yield _row(tuple(f"**{cell}**" if cell else "" for cell in cells) if place in grid.strong else cells)
    if grid.note:
        yield ""
        yield _text(grid.note)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
