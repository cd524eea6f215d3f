"""A question with two or three answers over the page; the safe one has the focus."""

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
    """One answer: what `dismiss` gives, what the button says, and whether it undoes something."""

    value: str
    text: str
    risky: bool = False


class Ask(ModalScreen[str]):
    """Dismisses with the chosen answer's value, or "" for none; the last answer has the focus."""

    BINDINGS = [("escape", "dismiss('')", "Close"), ("left", "app.focus_previous"), ("right", "app.focus_next")]  # noqa: RUF012
    # Else the first answer, a risky one, would have the focus for a moment.
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


def how_to_stop() -> Ask:
    """Asks how to stop the run in hand: "run", "epoch" or ""."""
    answers = [Answer("run", "Stop", True), Answer("epoch", "After this epoch", True), Answer("", "Keep going")]
    return Ask("Stop this run?", "A checkpoint is written; the curves so far are kept.", answers)


def how_to_leave() -> Ask:
    """Asks what becomes of the run in hand when the app is left: "stop", "" (it is not) or "hand-over"."""
    text = "Handed over, it goes on in a process of its own, from the same batch.\nStopped, it can be resumed."
    answers = [Answer("stop", "Stop and quit", True), Answer("", "Stay"), Answer("hand-over", "Hand over")]
    return Ask("A run is active", text, answers)


class AskText(ModalScreen[str | None]):
    """Asks for one line of text; dismisses with it, or with None."""

    BINDINGS = [("escape", "dismiss(None)", "Close")]  # noqa: RUF012

    def __init__(self, title: str, text: str, value: str = "") -> None:
        super().__init__()
        self._title, self._text, self._value = title, text, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(safe(self._title))  # pyright: ignore[reportAttributeAccessIssue]
            yield Static(safe(self._text), markup=False)
            yield Input(self._value, compact=True, id="ask-text")
            yield from self.more()

    def more(self) -> ComposeResult:
        """What stands below the line."""
        yield from ()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
