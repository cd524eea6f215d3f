"""Copy text to the clipboard of the terminal's user, over SSH and inside tmux too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from textual.app import App


def copy(app: App[Any], text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send the text by OSC 52; inside tmux, which ignores that by default, also by `tmux load-buffer`."""
    app.copy_to_clipboard(text)
    if environment.get("TMUX"):
        _through_tmux(text)


def _through_tmux(text: str) -> None:
    command = ["tmux", "load-buffer", "-w", "-"]
    try:
        subprocess.run(command, input=text.encode(), timeout=2, check=False, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return
