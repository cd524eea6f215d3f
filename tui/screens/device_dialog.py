"""A question for one line of text, with what this machine offers listed below it: choose one, or write another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from ..state.device_choices import Offer
from .dialogs import AskText


class AskOffer(AskText):
    """Dismisses with the text, or with None; what is offered is looked for beside the screen."""

    BINDINGS = [Binding("down", "app.focus_next", "To the list", show=False)]  # noqa: RUF012

    def __init__(self, title: str, text: str, value: str, offers: Callable[[], Sequence[Offer]]) -> None:
        super().__init__(title, text, value)
        self._look, self._offers = offers, list[Offer]()

    def more(self) -> ComposeResult:
        yield OptionList(compact=True, id="offers")

    def on_mount(self) -> None:
        self.run_worker(self._look, name="offers", thread=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        if event.worker.name == "offers" and event.state is WorkerState.SUCCESS:
            self._offers = list(event.worker.result or ())
            self._list()

    def _list(self) -> None:
        width = max((len(offer.value) for offer in self._offers), default=0)
        options = self.query_one("#offers", OptionList)
        options.add_options([Option(_line(offer, width)) for offer in self._offers])
        given = self.query_one("#ask-text", Input).value.strip()
        places = [place for place, offer in enumerate(self._offers) if offer.value == given]
        options.highlighted = places[0] if places else 0

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._offers[event.option_index].value)


def _line(offer: Offer, width: int) -> Text:
    value = Text(offer.value.ljust(width), "bold", no_wrap=True, overflow="ellipsis")
    return value.append(f"  {offer.meaning}", "not bold")
