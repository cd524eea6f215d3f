"""The message for an internal error of the app: short, without the values of variables."""

from __future__ import annotations

import os

from rich.console import RenderableType
from rich.text import Text

from ..format.values import safe


def crash_message(error: Exception | None, training: bool) -> RenderableType:
    """What the user reads when the app failed, and how to resume the run that it stopped."""
    if error and os.environ.get("TORCHDECK_DEBUG"):
        from rich.traceback import Traceback  # with all lexers, a tenth of the app's imports

        return Traceback.from_exception(type(error), error, error.__traceback__)
    text = f"internal error: {type(error).__name__}: {error}\n  set TORCHDECK_DEBUG=1 to see where"
    stopped = "\n  the run stops with a checkpoint; resume it with: torchdeck resume @last"
    return Text(safe(text) + (stopped if training else ""))
