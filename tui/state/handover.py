"""The way of a training from this process into one of its own: asked for from any thread, done beside the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.events import FolderChanged, RunCompleted, RunEvent, RunStarted
from ...core.processes.launch import DetachedRun, resume_detached

POLL_SECONDS = 0.1


class HandOver:
    """One training; it goes on here until the other process has it, and stays here where that one cannot."""

    def __init__(
        self,
        logs: Path,
        data: Path,
        take_over: Callable[[Path], DetachedRun] | None = None,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        """`let_go` ends the following of a run that is in processes of its own already."""
        self._logs, self._let_go = logs, let_go
        self._take_over = take_over or (lambda folder: resume_detached(folder, data, take_over=True))
        self.folder: Path | None = None
        self._begun, self._over = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._failure = self._trouble = ""
        self.asked = self.done = False
        """Whether anybody ever asked for it, and whether another process has the run."""

    def watch(self, events: Iterator[RunEvent]) -> Iterator[RunEvent]:
        """The same events; they tell of the run's directory, and of its end."""
        try:
            for event in events:
                if isinstance(event, RunStarted):
                    self.folder = self._logs / event.run_id
                    self._begun.set()
                if isinstance(event, FolderChanged) and self.folder:
                    self.folder = self.folder.with_name(event.run_id)
                self.done = isinstance(event, RunCompleted) and event.status == "handed_over"
                yield event
        finally:
            self._over.set()
            self._begun.set()

    @property
    def under_way(self) -> bool:
        """Whether it was asked for, and neither failed nor was done."""
        return self._lock.locked() and not self._over.is_set()

    def ask(self) -> None:
        """Hand over as soon as that can be; nothing where it is under way already."""
        self.asked = True
        if self._lock.acquire(blocking=False):
            threading.Thread(target=self._go, name="hand over", daemon=True).start()

    def finish(self, stop: Callable[[str], None]) -> None:
        """Wait for as long as a hand-over takes that was asked for; where nobody takes the run, `stop` hears why."""
        while self.under_way and not self._over.wait(POLL_SECONDS):
            pass
        if self.asked and not self._over.is_set():
            stop(f"not handed over: {self._failure}")

    def trouble(self) -> str:
        """Why the run stayed here, told once; "" where there is nothing to tell."""
        told, self._trouble = self._trouble, ""
        return told

    def _go(self) -> None:
        try:
            self._failure = self._handed_over()
        except Exception as error:  # noqa: BLE001 - whatever it was, the run stays here, and that is told
            self._failure = str(error) or type(error).__name__
        finally:
            self._trouble = self._failure
            self._lock.release()

    def _handed_over(self) -> str:
        """Start the other process and wait until it has the run; what was wrong with it where it ended before."""
        self._begun.wait()
        if self.folder is None or self._over.is_set():
            return ""
        if self._let_go:
            self._let_go()
            self._over.wait()
            return ""
        worker = self._take_over(self.folder).worker
        while not worker.ended:
            if self._over.wait(POLL_SECONDS):
                return ""
        # The run may have ended a moment before, which is why the other process did.
        if self._over.wait(POLL_SECONDS):
            return ""
        failure = worker.failure()
        return failure.error.message if failure else worker.exit_text()
