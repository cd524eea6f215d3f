"""Questions to something that may hang, such as a driver, for a caller that must not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")


def with_timeout(function: Callable[[], Answer], timeout: float) -> Callable[[], Answer | None]:
    """The same function for a caller that must not wait: None where it fails, takes too long or still hangs."""
    running: list[threading.Thread] = []

    def call() -> Answer | None:
        if running and running[0].is_alive():
            return None
        answers: list[Answer] = []

        def work() -> None:
            # Whatever a driver does, training goes on without its figures.
            with suppress(Exception):
                answers.append(function())

        running[:] = [threading.Thread(target=work, name="device", daemon=True)]
        running[0].start()
        running[0].join(timeout)
        return answers[0] if answers else None

    return call
