"""Dialogs over a page: a question with two or three buttons, and a question for one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from ..format.values import safe


@dataclass(frozen=True, slots=True)
class Answer:
    """One button: the value it dismisses with, its label, and whether it loses something."""

    value: str
    text: str
    risky: bool = False


class ConfirmDialog(ModalScreen[str]):
    """Dismisses with the value of the chosen button, or "" if closed; the last button, the safe one, has the focus."""

    BINDINGS = [("escape", "dismiss('')", "Close"), ("left", "app.focus_previous"), ("right", "app.focus_next")]  # noqa: RUF012
    # Else the first button, a risky one, would have the focus for a moment.
    AUTO_FOCUS = ""

    def __init__(self, title: str, text: str, answers: Sequence[Answer]) -> None:
        super().__init__()
        self._title, self._text, self._answers = title, text, answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(safe(self._title))  # pyright: ignore[reportAttributeAccessIssue]
            yield Static(safe(self._text), markup=False)
            with Horizontal(classes="answers"):
                for answer in self._answers:
                    kind = "error" if answer.risky else "default"
                    yield Button(answer.text, variant=kind, id=f"answer-{answer.value}", compact=True)

    def on_mount(self) -> None:
        self.query_one(f"#answer-{self._answers[-1].value}").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss((event.button.id or "").removeprefix("answer-"))


def stop_dialog() -> ConfirmDialog:
    """How to stop the active run: "run" (now), "epoch" (after the epoch) or "" (do not)."""
    answers = [Answer("run", "Stop", True), Answer("epoch", "After this epoch", True), Answer("", "Keep going")]
    return ConfirmDialog("Stop this run?", "A checkpoint is written; the curves so far are kept.", answers)


def quit_dialog() -> ConfirmDialog:
    """What to do with the active run on quitting: "stop", "hand-over" or "" (do not quit)."""
    text = "Hand over: training continues in a background process, from the same batch.\nStop: it can be resumed later."
    answers = [Answer("stop", "Stop and quit", True), Answer("", "Stay"), Answer("hand-over", "Hand over")]
    return ConfirmDialog("A run is active", text, answers)


class TextDialog(ModalScreen[str | None]):
    """Dismisses with the entered text, or with None if closed."""

    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, title: str, text: str, value: str = "") -> None:
        super().__init__()
        self._title, self._text, self._value = title, text, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(safe(self._title))  # pyright: ignore[reportAttributeAccessIssue]
            yield Static(safe(self._text), markup=False)
            yield Input(self._value, compact=True, id="dialog-input")
            yield from self.extra()

    def extra(self) -> ComposeResult:
        """Widgets below the input."""
        yield from ()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
