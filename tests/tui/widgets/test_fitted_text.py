"""Text that is written for its width: once a width, with room kept for its scroll bar."""

from __future__ import annotations

from app_driver import screen_text, until
from rich.text import Text
from textual.app import App, ComposeResult

from torchdeck.tui.widgets.fitted_text import FittedText


class Bench(App[None]):
    """A text as wide as the terminal."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.asked: list[int] = []
        self._lines = lines

    def compose(self) -> ComposeResult:
        text = FittedText()
        text.show("before it is laid out", self.write)
        yield text

    def write(self, width: int) -> Text:
        self.asked.append(width)
        return Text("\n".join(["=" * width] * self._lines))


async def test_a_text_is_written_once_for_each_width_whether_it_scrolls_or_not() -> None:
    for lines in (3, 60):
        app = Bench(lines)
        async with app.run_test(size=(40, 12)) as pilot:
            await until(pilot, lambda app=app: "=" * 38 in screen_text(app))
            await pilot.resize_terminal(60, 12)
            await until(pilot, lambda app=app: "=" * 58 in screen_text(app))
            app.query_one(FittedText).show("before it is laid out", app.write)
            await pilot.pause()
            assert app.asked == [38, 58]
            app.query_one(FittedText).show("another", app.write)
            assert app.asked == [38, 58, 58]
