"""Runs of a study that train nothing: each writes the log of a run of thirty epochs and is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from logs import events_of, write_run
from torchdeck.core.control import CommandName
from torchdeck.core.devices.slots import Slot
from torchdeck.core.events import RunEvent, RunFailed, stamp
from torchdeck.core.processes.launch import place_of
from torchdeck.core.runs.line_format import encode_line
from torchdeck.core.runs.reader import load_record, write_caches

STEPS_PER_EPOCH = 5


class NoOp:
    """What trains such a run, as a study sees it: it has ended by the time that it is asked."""

    ended = True

    def __init__(self, request: Mapping[str, Any], _console: Path, _lock: int, slot: Slot) -> None:
        self.place, self.request = place_of(slot), request
        logs, run_id = Path(request["logs"]), str(request["run_id"])
        if request["resume"]:
            go_on(logs / run_id, self.events())
        else:
            write_run(logs, run_id, self.events(), time.time(), study=request["study"])

    def events(self) -> Iterator[RunEvent]:
        """What the run says."""
        return events_of(str(self.request["run_id"]), 0, STEPS_PER_EPOCH)

    def send(self, command: CommandName, reason: str) -> None:
        """Nothing: it is gone."""

    def close(self) -> None:
        pass

    def exit_text(self) -> str:
        return "it ended"

    def failure(self) -> RunFailed | None:
        return None


def go_on(folder: Path, events: Iterator[RunEvent]) -> None:
    """Add a further attempt to the log of a run."""
    record = load_record(folder)
    attempt, first, t = record.attempt + 1, record.next_seq, time.time()
    lines = list[bytes]()
    for number, event in enumerate(events):
        stamped = stamp(event, seq=first + number, t=t + number / 10, attempt=attempt)
        record.apply(stamped)
        lines.append(encode_line(stamped))
    with open(folder / "events.jsonl", "ab") as log:
        log.write(b"".join(lines))
    write_caches(folder, record, curves=True)
