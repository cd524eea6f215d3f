"""Messages by which screens ask the app for something, without importing the app."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from textual.message import Message

from ...core.config import ExperimentConfig
from ...core.control import CommandName
from ...core.runs.label import Label

Mode = Literal["setup", "live", "runs", "compare", "analyze"]
RESUMABLE = ("stopped", "died", "failed", "handed_over", "unknown")
"""The statuses of runs that can be resumed."""


class StartRequested(Message):
    """Start a run, in this process or in a background process."""

    def __init__(self, config: ExperimentConfig, label: Label, *, detached: bool = False) -> None:
        super().__init__()
        self.config = config
        self.label = label
        self.detached = detached


class ResumeRequested(Message):
    """Resume a stopped or dead run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


class WatchRequested(Message):
    """Follow a run that another process trains."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


class StudyRequested(Message):
    """Show the study in a folder; None lists all studies."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder


class ModeRequested(Message):
    """Show another page."""

    def __init__(self, mode: Mode) -> None:
        super().__init__()
        self.mode: Mode = mode


class ReuseRequested(Message):
    """Copy a run's settings into the form of Setup."""

    def __init__(self, preset: str, config: dict[str, Any]) -> None:
        super().__init__()
        self.preset = preset
        self.config = config


class StopRequested(Message):
    """Ask the user whether and how to stop the active run."""


class HandoverRequested(Message):
    """Hand the active run over to a background process."""


class CommandRequested(Message):
    """Pause, unpause or checkpoint the active run."""

    def __init__(self, command: CommandName) -> None:
        super().__init__()
        self.command: CommandName = command


class CopyRequested(Message):
    """Copy a text to the clipboard, through the terminal."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__()
        self.text = text
        self.what = what


class QuitRequested(Message):
    """Quit with an exit code, once the active run has ended."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code
