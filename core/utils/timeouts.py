"""Call a function with a timeout, for callers that must not hang when a driver does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")


def with_timeout(function: Callable[[], Answer], timeout: float) -> Callable[[], Answer | None]:
    """Wrap a function so that a call returns None where it fails, takes longer than `timeout` seconds, or where an
    earlier call still hangs. Each call runs in a daemon thread."""
    running: list[threading.Thread] = []

    def call() -> Answer | None:
        if running and running[0].is_alive():
            return None
        answers: list[Answer] = []

        def work() -> None:
            # Whatever the driver does wrong, training continues without its figures.
            with suppress(Exception):
                answers.append(function())

        running[:] = [threading.Thread(target=work, name="device", daemon=True)]
        running[0].start()
        running[0].join(timeout)
        return answers[0] if answers else None

    return call
