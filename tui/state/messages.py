"""What screens ask of the app, and its driver tells it, as messages; neither knows the app."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from textual.message import Message

from ...core.config import ExperimentConfig
from ...core.control import CommandName
from ...core.runs.label import Label

Mode = Literal["setup", "live", "runs", "compare", "analyze"]


class StartRequested(Message):
    """Train this, here or in a process of its own."""

    def __init__(self, config: ExperimentConfig, label: Label, *, detached: bool = False) -> None:
        super().__init__()
        self.config = config
        self.label = label
        self.detached = detached


class ResumeRequested(Message):
    """Go on with a stopped or dead run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


class WatchRequested(Message):
    """Follow a run that another process trains."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


class StudyRequested(Message):
    """Show the study of a folder; None lists them all."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder


class ModeRequested(Message):
    """Show another page."""

    def __init__(self, mode: Mode) -> None:
        super().__init__()
        self.mode: Mode = mode


class ReuseRequested(Message):
    """Put a run's settings into the form."""

    def __init__(self, preset: str, config: dict[str, Any]) -> None:
        super().__init__()
        self.preset = preset
        self.config = config


class StopRequested(Message):
    """Ask whether to stop the training in hand, and how."""


class HandOverRequested(Message):
    """Let a process of its own go on with the training in hand."""


class CommandRequested(Message):
    """Ask the training in hand to pause, go on or save."""

    def __init__(self, command: CommandName) -> None:
        super().__init__()
        self.command: CommandName = command


class CopyRequested(Message):
    """Put a text on the clipboard, through the terminal."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__()
        self.text = text
        self.what = what


class LeaveRequested(Message):
    """Leave with an exit code, after the run in hand."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code
