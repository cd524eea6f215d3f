"""An error boundary around every handler and widget: what fails is shown and logged, and the app and its run continue.

Textual ends the app at any exception, and with the app the run that it trains. It can't be told to continue (a widget
whose handler failed is removed from its page). So the three methods that call handlers, measure widgets and draw
them are wrapped, in the base classes of all widgets.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.box_model import BoxModel
from textual.driver import Driver
from textual.geometry import Region, Size, Spacing
from textual.message import Message
from textual.message_pump import MessagePump
from textual.strip import Strip
from textual.widget import Widget

from ..format.values import safe
from ..terminal.captured_output import CapturedOutput

MAX_LENGTH = 200
"""Characters of an error message that are shown; the log has more."""


class ErrorBoundary(App[None]):
    """An app that survives the errors of its handlers, timers, actions and widgets, once its first frame is drawn."""

    _is_drawn = False

    def __init__(self, captured_output: CapturedOutput, driver_class: type[Driver] | None) -> None:
        super().__init__(driver_class)
        self.captured_output = captured_output
        self._logged: set[tuple[str, int]] = set()

    def on_ready(self) -> None:
        self._is_drawn = True

    def _handle_exception(self, error: Exception) -> None:
        if not self._is_drawn or self._exit:
            super()._handle_exception(error)
            return
        if self.is_headless and self._exception is None:  # where a test must fail
            self._exception = error
            self._exception_event.set()
        self._log_once(error)
        message = f"{_text_of(error)}. The app and its run continue; the log of Live has the details."
        if any(shown.message == message for shown in self._notifications):
            self._refresh_notifications()  # on a page that did not show it yet
        else:
            self.notify(message, title="internal error", severity="error", timeout=20, markup=False)

    def _log_once(self, error: Exception) -> None:
        """Log an error, unless one of the same line was logged before: a widget may fail in every frame."""
        frames = traceback.extract_tb(error.__traceback__)
        place = (frames[-1].filename, frames[-1].lineno or 0) if frames else ("", 0)
        if place not in self._logged:
            self._logged.add(place)
            self.captured_output.add("internal error of the app\n" + "".join(traceback.format_exception(error)))


def _text_of(error: Exception) -> str:
    return safe(f"{type(error).__name__}: {error}", MAX_LENGTH)


def _report(node: MessagePump, error: Exception) -> str:
    node.app._handle_exception(error)  # pyright: ignore[reportPrivateUsage]
    return f"cannot be shown: {_text_of(error)}"


# pyright: reportPrivateUsage=false
_dispatch = MessagePump._dispatch_message
_box_model, _render_lines = Widget._get_box_model, Widget.render_lines


async def _dispatch_guarded(node: MessagePump, message: Message) -> None:
    try:
        await _dispatch(node, message)
    except Exception as error:  # noqa: BLE001
        _report(node, error)


def _box_model_guarded(widget: Widget, container: Size, *args: Any, **options: Any) -> BoxModel:
    try:
        return _box_model(widget, container, *args, **options)
    except Exception as error:  # noqa: BLE001
        _report(widget, error)
        return BoxModel(Fraction(container.width), Fraction(1), Spacing())


def _render_lines_guarded(widget: Widget, crop: Region) -> list[Strip]:
    try:
        return _render_lines(widget, crop)
    except Exception as error:  # noqa: BLE001
        line = Strip([Segment(_report(widget, error), Style(reverse=True))])
        return [line.adjust_cell_length(crop.width), *[Strip.blank(crop.width)] * (crop.height - 1)][: crop.height]


def _install(owner: type[object], **methods: Callable[..., object]) -> None:
    for name, method in methods.items():
        setattr(owner, name, method)


_install(MessagePump, _dispatch_message=_dispatch_guarded)
_install(Widget, _get_box_model=_box_model_guarded, render_lines=_render_lines_guarded)
