"""Widgets that keep what they drew: untouched ones are left alone in a frame, and none shows what is out of date."""

from __future__ import annotations

from app_driver import screen_text, until
from rich.text import Text
from textual.app import App, ComposeResult
from textual.color import Color
from textual.geometry import Region
from textual.strip import Strip

from torchdeck.tui.widgets.cached_render import Pane
from torchdeck.tui.widgets.line_list import LineList
from torchdeck.tui.widgets.styled_parts import StyledParts


class Word(StyledParts):
    """A word, and how often its lines were put together."""

    PARTS = "word"
    DEFAULT_CSS = "Word { height: 1; }"

    def __init__(self, word: str, **options: str) -> None:
        super().__init__(**options)
        self.word = word
        self.frames = 0

    def get_line_filters(self) -> list[object]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Asked for whenever the lines are put together."""
        self.frames += 1
        return []

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - it has one line
        return self._strip(Text(self.word))


class Lines(LineList):
    """Numbers, and which lines were written."""

    PARTS = "lines"
    DEFAULT_CSS = "Lines { height: 3; }"

    def __init__(self) -> None:
        super().__init__()
        self.wrote: list[int] = []

    def render_item(self, item: int) -> Strip:
        self.wrote.append(item)
        return self._styled_line((f"number {item}", ""), width=self.size.width)


class Bench(App[None]):
    """Two words and a few lines on a pane."""

    CSS = "Pane { background: #102030; }"

    def compose(self) -> ComposeResult:
        with Pane():
            yield Word("still", id="still")
            yield Word("first", id="changing")
            yield Lines()

    def word(self, name: str) -> Word:
        return self.query_one(f"#{name}", Word)

    def ground(self, name: str) -> object:
        """The background of a word as the terminal has it."""
        word = self.word(name)
        strip = word.render_lines(Region(0, 0, *word.size))[0]
        return next(segment.style.bgcolor for segment in strip if segment.style)


async def test_a_frame_puts_together_only_what_changed() -> None:
    app = Bench()
    async with app.run_test(size=(40, 10)) as pilot:
        await until(pilot, lambda: "still" in screen_text(app))
        before = app.word("still").frames
        for word in ("second", "third", "fourth"):
            app.word("changing").word = word
            app.word("changing").refresh()
            await until(pilot, lambda word=word: word in screen_text(app))
        assert app.word("still").frames == before
        assert "still" in screen_text(app)


async def test_what_stands_on_another_background_is_drawn_on_it() -> None:
    app = Bench()
    async with app.run_test(size=(40, 10)) as pilot:
        await until(pilot, lambda: app.ground("still") == Color.parse("#102030").rich_color)
        app.query_one(Pane).styles.background = "#405060"
        await until(pilot, lambda: app.ground("still") == Color.parse("#405060").rich_color)


async def test_of_lines_only_those_that_say_something_new_are_written() -> None:
    app = Bench()
    async with app.run_test(size=(40, 10)) as pilot:
        lines = app.query_one(Lines)
        lines.show_items([1, 2, 3])
        await until(pilot, lambda: "number 3" in screen_text(app))
        lines.wrote.clear()
        lines.show_items([1, 20, 3])
        await until(pilot, lambda: "number 20" in screen_text(app))
        assert set(lines.wrote) == {20}
        lines.show_items([1])
        await until(pilot, lambda: "number 3" not in screen_text(app) and "number 1" in screen_text(app))
