"""The line of keys: it says what can be done where the focus is, and its words can be clicked."""

from __future__ import annotations

from app_driver import screen_text, until
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from torchdeck.tui.widgets.key_bar import KeyBar


class Field(Input):
    """Has a key of its own."""

    BINDINGS = [Binding("f4", "app.say('field')", "Fill", key_display="F4")]  # noqa: RUF012


class Bench(App[None]):
    """Two fields above the line."""

    BINDINGS = [  # noqa: RUF012
        Binding("f2", "say('save')", "Save", key_display="F2"),
        Binding("f3", "say('send')", "Send", key_display="F3"),
        Binding("f9", "say('hidden')", "Hidden", show=False),
        Binding("f10", "say('save')", "Save as well"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.rung = 0
        self.sending: bool | None = None

    def compose(self) -> ComposeResult:
        yield Field(id="one")
        yield Input(id="two")
        yield KeyBar()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        return self.sending if parameters == ("send",) else True

    def action_say(self, word: str) -> None:
        self.said.append(word)

    def bell(self) -> None:
        self.rung += 1

    @property
    def line(self) -> str:
        return screen_text(self).splitlines()[-1]


async def test_the_keys_are_those_of_the_focus_each_action_once() -> None:
    app = Bench()
    async with app.run_test(size=(60, 10)) as pilot:
        await until(pilot, lambda: app.line == "F4 Fill F2 Save F3 Send")
        app.query_one("#two").focus()
        await until(pilot, lambda: app.line == "F2 Save F3 Send")


async def test_a_click_presses_the_key_where_it_can_do_something() -> None:
    app = Bench()
    async with app.run_test(size=(60, 10)) as pilot:
        await until(pilot, lambda: "F3 Send" in app.line)
        await pilot.click(KeyBar, offset=(app.line.index("Save"), 0))
        await until(pilot, lambda: app.said == ["save"])
        await pilot.click(KeyBar, offset=(app.line.index("Send"), 0))
        await until(pilot, lambda: app.rung == 1)
        app.sending = True
        app.refresh_bindings()
        await until(pilot, lambda: app.query_one(KeyBar).keys[-1].enabled)
        await pilot.click(KeyBar, offset=(app.line.index("F3"), 0))
        await until(pilot, lambda: app.said == ["save", "send"])
        await pilot.click(KeyBar, offset=(50, 0))
        await pilot.pause()
        assert (app.said, app.rung) == (["save", "send"], 1)


class Letters(Bench):
    """A page with keys that are letters, besides those of the app."""

    BINDINGS = [  # noqa: RUF012
        *(Binding(letter, f"say('{letter}')", f"Word {letter}") for letter in "abcdef"),
        Binding("f1", "say('help')", "Help", key_display="F1", id="app.help"),
    ]


async def test_keys_that_would_be_typed_into_a_field_are_left_out() -> None:
    app = Letters()
    async with app.run_test(size=(120, 10)) as pilot:
        app.set_focus(None)
        await until(pilot, lambda: "a Word a" in app.line)
        app.query_one("#two").focus()
        await until(pilot, lambda: "Word" not in app.line and "F1 Help" in app.line)


async def test_help_stays_in_view_however_narrow() -> None:
    app = Letters()
    async with app.run_test(size=(120, 10)) as pilot:
        app.set_focus(None)
        await until(pilot, lambda: "f Word f" in app.line)
        await pilot.resize_terminal(30, 10)
        await until(pilot, lambda: app.line == "F2 Save F3 Send F1 Help")


async def test_what_is_under_the_mouse_stands_out() -> None:
    app = Bench()
    async with app.run_test(size=(60, 10)) as pilot:
        await until(pilot, lambda: "F2 Save" in app.line)
        bar = app.query_one(KeyBar)

        def grounds() -> list[object]:
            return [segment.style.bgcolor for segment in bar.render_line(0) if segment.style and segment.text.strip()]

        assert len(set(grounds())) == 1
        await pilot.hover(KeyBar, offset=(app.line.index("Save"), 0))
        await until(pilot, lambda: len(set(grounds())) == 2)
        await pilot.hover("#two")
        await until(pilot, lambda: len(set(grounds())) == 1)
