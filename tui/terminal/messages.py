"""What the terminal's driver tells the app."""

from __future__ import annotations

from textual.message import Message


class TerminalDrained(Message):
    """The terminal takes frames again, after some were dropped or while another had it."""


class TerminalLost(Message):
    """The terminal went away."""
