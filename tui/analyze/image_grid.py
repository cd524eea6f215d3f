"""A grid of images in half-block characters, in pages: first-layer filters or misclassified images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import ClassVar

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from ..charts.half_blocks import (
    Cell,
    Pixels,
    Rgb,
    Rows,
    Tiling,
    ascii_shades,
    grid,
    half_blocks,
    scaled,
    text_cells,
    tiling,
    to_pixels,
)
from ..format.values import count
from .frame import framed

MAX_CAPTION_LINES = 4


class ImageGrid(Widget, can_focus=True):
    """Shows as many images per page as fit, as large as possible, with captions."""

    SCOPED_CSS = False
    DEFAULT_CSS = (
        framed("ImageGrid")
        + """
    ImageGrid > .image-grid--caption { text-style: bold; }
    ImageGrid > .image-grid--detail { color: $chart-label; }
    ImageGrid:ansi > .image-grid--detail { color: ansi_default; }
    """
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {"image-grid--caption", "image-grid--detail"}
    BORDER_TITLE = "Images"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup,comma", "page(-1)", "Previous page", key_display=",", id="image-grid.previous"),
        Binding("pagedown,full_stop", "page(1)", "Next page", key_display=".", id="image-grid.next"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._images: Sequence[Pixels] = ()
        self._captions: list[list[str]] = []
        self._first = 0
        self._strips: list[Strip] | None = None

    def show(self, images: Sequence[Pixels], captions: Sequence[str] = ()) -> None:
        """Show images [C, H, W]; a caption has up to four lines, the first of which is its title."""
        assert not captions or len(captions) == len(images)
        self._images = [image for image in images if image.size]
        self._captions = [caption.split("\n")[:MAX_CAPTION_LINES] for caption in captions]
        self._first = 0
        self._redraw()
        self.refresh(layout=self.styles.auto_dimensions)

    def action_page(self, pages: int) -> None:
        """Move by some pages, if there are any."""
        first = self._first + pages * self._per_page
        if 0 <= first < len(self._images) and self._per_page:
            self._first = first
        elif pages < 0:
            self._first = 0
        self._redraw()

    def on_resize(self) -> None:
        """Choose the scale for the new size."""
        self._redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """The height that a page uses."""
        plan = self._planned(Size(width, container.height))
        rows = min(plan.rows, -(-len(self._images) // max(1, plan.columns)))
        return max(0, rows * (plan.lines + plan.lines_between) - plan.lines_between)

    def notify_style_update(self) -> None:
        """Redraw: colours may have changed."""
        super().notify_style_update()
        self._strips = None

    def _redraw(self) -> None:
        self._strips = None
        self.border_subtitle = self._subtitle()
        self.refresh()

    @property
    def _plan(self) -> Tiling:
        return self._planned(self.size)

    def _planned(self, space: Size) -> Tiling:
        if not self._images:
            return Tiling(1, 1, 0, 0, 0, 0, 0)
        height, width = (max(image.shape[axis] for image in self._images) for axis in (1, 2))
        caption_lines = max(map(len, self._captions), default=0)
        return tiling(len(self._images), (height, width), (space.height, space.width), caption_lines)

    @property
    def _per_page(self) -> int:
        plan = self._plan
        return plan.columns * plan.rows

    def _subtitle(self) -> str:
        if not self._images or not self._per_page:
            return ""
        last = min(self._first + self._per_page, len(self._images))
        text = f"{count(self._first + 1)}-{count(last)} of {count(len(self._images))}"
        return text if len(text) <= self.size.width - 2 else ""

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of the page."""
        if self._strips is None:
            self._strips = [self._strip(row) for row in self._page()]
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _page(self) -> Rows:
        plan = self._plan
        shown = range(self._first, min(self._first + plan.columns * plan.rows, len(self._images)))
        return grid([self._tile(index, plan) for index in shown], plan)

    def _tile(self, index: int, plan: Tiling) -> Rows:
        """An image with its caption; all captions are at the same height."""
        pixels = scaled(to_pixels(self._images[index]), plan.shrink, plan.enlarge)
        picture = ascii_shades(pixels, self._dark) if self._shaded else half_blocks(pixels)
        if not self._captions:
            return picture
        caption_lines = max(map(len, self._captions))
        blank: Rows = [[] for _ in range(plan.lines - caption_lines - len(picture))]
        inks = ["caption", *["detail"] * (MAX_CAPTION_LINES - 1)]
        captions = zip(self._captions[index], inks, strict=False)
        return picture + blank + [text_cells(text, plan.width, ink, self._ascii) for text, ink in captions]

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    @property
    def _shaded(self) -> bool:
        """Whether to draw brightness by characters: with NO_COLOR, Textual's ANSI themes have no colours at all."""
        return self._ascii or (self.app.no_color and self.app.native_ansi_color)

    @property
    def _dark(self) -> bool:
        return self.app.current_theme.dark

    def _strip(self, row: list[Cell]) -> Strip:
        return Strip(
            Segment("".join(cell.text for cell in cells), self._style(ink, ground))
            for (ink, ground), cells in groupby(row, key=lambda cell: (cell.ink, cell.ground))
        )

    def _style(self, ink: Rgb | str | None, ground: Rgb | None) -> Style:
        match ink:
            case None:
                return self.rich_style
            case str():
                return self.get_component_rich_style(f"image-grid--{ink}")
            case _:
                return self.rich_style + _colours(ink, ground)


@lru_cache(maxsize=4096)
def _colours(ink: Rgb, ground: Rgb | None) -> Style:
    return Style(color=Color.from_rgb(*ink), bgcolor=Color.from_rgb(*ground) if ground else None)
