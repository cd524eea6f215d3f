"""Messages from the terminal driver to the app."""

from __future__ import annotations

from textual.message import Message


class TerminalDrained(Message):
    """The terminal accepts frames again, after some were dropped or the app was suspended."""


class TerminalLost(Message):
    """The terminal was closed."""
