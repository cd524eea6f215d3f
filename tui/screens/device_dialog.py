"""A dialog for the device to train on: choose one of this machine's devices, or type another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from ..state.device_choices import DeviceChoice
from .dialogs import TextDialog


class DeviceDialog(TextDialog):
    """Dismisses with the text, or with None if closed; the devices are listed once a worker thread found them."""

    BINDINGS = [Binding("down", "app.focus_next", "To the list", show=False)]  # noqa: RUF012

    def __init__(self, title: str, text: str, value: str, choices: Callable[[], Sequence[DeviceChoice]]) -> None:
        super().__init__(title, text, value)
        self._find, self._choices = choices, list[DeviceChoice]()

    def extra(self) -> ComposeResult:
        yield OptionList(compact=True, id="device-choices")

    def on_mount(self) -> None:
        self.run_worker(self._find, name="choices", thread=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        if event.worker.name == "choices" and event.state is WorkerState.SUCCESS:
            self._choices = list(event.worker.result or ())
            self._show_choices()

    def _show_choices(self) -> None:
        width = max((len(choice.value) for choice in self._choices), default=0)
        options = self.query_one("#device-choices", OptionList)
        options.add_options([Option(_line(choice, width)) for choice in self._choices])
        given = self.query_one("#dialog-input", Input).value.strip()
        places = [place for place, choice in enumerate(self._choices) if choice.value == given]
        options.highlighted = places[0] if places else 0

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._choices[event.option_index].value)


def _line(choice: DeviceChoice, width: int) -> Text:
    value = Text(choice.value.ljust(width), "bold", no_wrap=True, overflow="ellipsis")
    return value.append(f"  {choice.meaning}", "not bold")
