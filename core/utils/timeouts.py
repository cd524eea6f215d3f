"""Questions to something that may hang, such as a driver, for a caller that must not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")


def bounded(read: Callable[[], Answer], timeout: float) -> Callable[[], Answer | None]:
    """The same function for a caller that must not wait: None where it fails, takes too long or still hangs."""
    hangs: list[threading.Thread] = []

    def ask() -> Answer | None:
        if hangs and hangs[0].is_alive():
            return None
        told: list[Answer] = []

        def work() -> None:
            # Whatever a driver does, training goes on without its figures.
            with suppress(Exception):
                told.append(read())

        hangs[:] = [threading.Thread(target=work, name="device", daemon=True)]
        hangs[0].start()
        hangs[0].join(timeout)
        return told[0] if told else None

    return ask
