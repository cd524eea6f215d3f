"""Mean utilization of a run's device, from the samples in its log, without parsing the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import isfinite
from pathlib import Path

from ..events import DeviceSampled, RunStarted
from ..runs.line_format import MAX_LINE_BYTES, decode_line
from ..utils.files import open_regular

_WANTED = (b'"kind":"DeviceSampled"', b'"kind":"RunStarted"')


def mean_utilization(folder: Path) -> float | None:
    """The mean utilization over a run's device samples, as a fraction; None where there are none."""
    seen: list[DeviceSampled] = []
    for event in _events(folder):
        if isinstance(event, RunStarted):
            kept = event.resumed_from or 0
            seen = [sample for sample in seen if sample.step <= kept]
        else:
            seen.append(event)
    values = [sample.utilization for sample in seen if sample.utilization is not None and isfinite(sample.utilization)]
    return sum(values) / len(values) if values else None


def _events(folder: Path) -> Iterator[DeviceSampled | RunStarted]:
    """The device samples and starts in a log; damaged lines are skipped."""
    try:
        file = os.fdopen(open_regular(folder / "events.jsonl"), "rb")
    except OSError:
        return
    with file:
        while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
            if not any(kind in line[:200] for kind in _WANTED):
                continue
            try:
                event = decode_line(line[:-1])
            except ValueError:
                continue
            if isinstance(event, DeviceSampled | RunStarted):
                yield event
