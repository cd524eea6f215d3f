"""Hand a run over to a background process: requested from any thread, done while training continues."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.events import FolderChanged, RunCompleted, RunEvent, RunStarted
from ...core.processes.launch import DetachedRun, resume_detached

POLL_SECONDS = 0.1


class Handover:
    """The handover of one run; it trains here until the other process is ready, and stays here if that one fails."""

    def __init__(
        self,
        logs: Path,
        data: Path,
        take_over: Callable[[Path], DetachedRun] | None = None,
        stop_following: Callable[[], None] | None = None,
    ) -> None:
        """`stop_following` is given for a run that other processes train already: leaving it is all there is to do."""
        self._logs, self._stop_following = logs, stop_following
        self._take_over = take_over or (lambda folder: resume_detached(folder, data, take_over=True))
        self.folder: Path | None = None
        self._started, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._failure = self._unreported = ""
        self.requested = self.done = False
        """Whether a handover was ever requested, and whether another process has taken the run."""

    def watch(self, events: Iterator[RunEvent]) -> Iterator[RunEvent]:
        """Pass the events on, and learn from them the run's directory and its end."""
        try:
            for event in events:
                if isinstance(event, RunStarted):
                    self.folder = self._logs / event.run_id
                    self._started.set()
                if isinstance(event, FolderChanged) and self.folder:
                    self.folder = self.folder.with_name(event.run_id)
                self.done = isinstance(event, RunCompleted) and event.status == "handed_over"
                yield event
        finally:
            self._ended.set()
            self._started.set()

    @property
    def in_progress(self) -> bool:
        """Whether a requested handover has neither failed nor finished."""
        return self._lock.locked() and not self._ended.is_set()

    def request(self) -> None:
        """Hand the run over as soon as possible; no effect while a handover is in progress."""
        self.requested = True
        if self._lock.acquire(blocking=False):
            threading.Thread(target=self._run, name="handover", daemon=True).start()

    def finish(self, stop: Callable[[str], None]) -> None:
        """Wait until a requested handover is decided; if it failed, call `stop` with the reason."""
        while self.in_progress and not self._ended.wait(POLL_SECONDS):
            pass
        if self.requested and not self._ended.is_set():
            stop(f"not handed over: {self._failure}")

    def take_failure(self) -> str:
        """Why the run stayed here, returned once; "" if there is nothing new to report."""
        failure, self._unreported = self._unreported, ""
        return failure

    def _run(self) -> None:
        try:
            self._failure = self._hand_over()
        except Exception as error:  # noqa: BLE001 - whatever happened, the run stays here, and that is reported
            self._failure = str(error) or type(error).__name__
        finally:
            self._unreported = self._failure
            self._lock.release()

    def _hand_over(self) -> str:
        """Start the other process and wait until it has taken the run; returns why, if it ended before that."""
        self._started.wait()
        if self.folder is None or self._ended.is_set():
            return ""
        if self._stop_following:
            self._stop_following()
            self._ended.wait()
            return ""
        worker = self._take_over(self.folder).worker
        while not worker.ended:
            if self._ended.wait(POLL_SECONDS):
                return ""
        # The run may have ended a moment ago, which ended the other process too.
        if self._ended.wait(POLL_SECONDS):
            return ""
        failure = worker.failure()
        return failure.error.message if failure else worker.exit_text()
