"""Write a report as one self-contained HTML file: styles and pictures are embedded, all texts escaped."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from ..charts.palette import ON_DARK, ON_LIGHT
from ..format.values import safe
from ..summaries.study_tables import Grid
from .document import Block, Bullets, Code, Document, KeyFigure, Paragraph, Picture, Pictures, TableBlock
from .plots import colored

STYLE = Path(__file__).parent / "style.css"
Number = Callable[[], int]


def to_html(document: Document) -> str:
    """The report as HTML."""
    tables, figures = itertools.count(1), itertools.count(1)
    sections = "\n".join(
        f'<section id="{_anchor(place)}">\n<h2>{place}. {_text(section.title)}</h2>\n'
        + "\n".join(_block(block, lambda: next(tables), lambda: next(figures)) for block in section.blocks)
        + "\n</section>"
        for place, section in enumerate(document.sections, 1)
    )
    return "\n".join([*_head(document), sections, *_foot()]) + "\n"


def _head(document: Document) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    # Nothing may be fetched, whatever a log file contains.
    yield (
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
    )
    yield f"<title>{_text(document.title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n<header>"
    yield f"<h1>{_text(document.title)}</h1>"
    if document.summary:
        yield f'<p class="summary">{_text(document.summary)}</p>'
    yield f'<p class="about">{" · ".join(map(_text, document.about))}</p>\n</header>'
    yield f'<dl class="key-figures">{"".join(map(_key_figure, document.key_figures))}</dl>'
    links = (
        f'<li><a href="#{_anchor(place)}">{_text(section.title)}</a></li>'
        for place, section in enumerate(document.sections, 1)
    )
    yield f'<nav aria-label="Contents"><ol>{"".join(links)}</ol></nav>'


def _foot() -> Iterator[str]:
    yield "<footer>Created by Torchdeck from the logs of the runs.</footer>"
    yield "</main>\n</body>\n</html>"


def _style() -> str:
    """The style sheet with the chart colours for light and dark mode."""
    return STYLE.read_text(encoding="utf-8").replace("/* light */", _colors(ON_LIGHT)).replace(
        "/* dark */", _colors(ON_DARK)
    )  # fmt: skip


def _colors(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {color};" for name, color in palette.items() if name.startswith("chart-"))


def _anchor(place: int) -> str:
    return f"section-{place}"


def _text(text: str) -> str:
    return escape(safe(text))


def _key_figure(item: KeyFigure) -> str:
    remark = f'<dd class="remark">{_text(item.remark)}</dd>' if item.remark else ""
    return f"<div><dt>{_text(item.name)}</dt><dd>{_text(item.value)}</dd>{remark}</div>"


def _block(block: Block, table: Number, number: Number) -> str:
    match block:
        case Paragraph():
            return f"<p>{_text(block.text)}</p>"
        case Bullets():
            return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"
        case Code():
            lines = "\n".join(map(_text, block.text.splitlines()))
            return f"<pre><code>{lines}</code></pre>"
        case TableBlock():
            return _table(block.grid, table())
        case Pictures():
            return _pictures(block, number())


def _table(grid: Grid, number: int) -> str:
    head = _row("th", grid.columns, grid) if any(grid.columns) else ""
    body = "\n".join(_row("td", row, grid, place in grid.strong) for place, row in enumerate(grid.rows))
    note = f'<p class="note">{_text(grid.note)}</p>' if grid.note else ""
    return (
        f'<figure class="table"><figcaption><b>Table {number}.</b> {_text(grid.title)}</figcaption>'
        f'<div class="scroll"><table>{f"<thead>{head}</thead>" if head else ""}<tbody>\n{body}\n</tbody></table></div>'
        f"{note}</figure>"
    )


def _row(tag: str, cells: tuple[str, ...], grid: Grid, strong: bool = False) -> str:
    classes = (' class="right"' if place in grid.right else "" for place in range(len(cells)))
    made = "".join(f"<{tag}{of}>{_text(cell)}</{tag}>" for of, cell in zip(classes, cells, strict=True))
    return ('<tr class="strong">' if strong else "<tr>") + f"{made}</tr>"


def _pictures(block: Pictures, number: int) -> str:
    several = len(block.pictures) > 1
    parts = "\n".join(f"<div>{_picture(item)}{_caption(item) if several else ''}</div>" for item in block.pictures)
    caption = block.title if several else ". ".join(filter(None, [block.title, block.pictures[0].caption]))
    return (
        f'<figure class="pictures"><div class="columns-{block.columns}">{parts}</div>'
        f"<figcaption><b>Figure {number}.</b> {_text(caption)}</figcaption></figure>"
    )


def _caption(item: Picture) -> str:
    return f'<p class="caption">{_text(item.caption)}</p>'


def _picture(item: Picture) -> str:
    if item.png:
        data = base64.b64encode(item.png).decode("ascii")
        return f'<img class="pixels" alt="{_text(item.caption)}" src="data:image/png;base64,{data}">'
    svg = colored(item.svg, lambda name: f"var(--{name})", "var(--sans)")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_text(item.caption)}" ', 1)
