"""The events of a study: frozen dataclasses, and their form as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..events import DeviceSampled, Failure, RunEvent, StepCompleted, failure_json, to_json
from .model import Study, StudyRun

Outcome = Literal["completed", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """Base of all events of a study."""


@dataclass(frozen=True, slots=True)
class StudyStarted(StudyEvent):
    """This process started to work on the study, with these slots."""

    study: Study
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyWarned(StudyEvent):
    """A problem that the study survives."""

    message: str


@dataclass(frozen=True, slots=True)
class RunStartedInStudy(StudyEvent):
    """A run started, or resumed in its folder; `by_peer`: another process of the study trains it."""

    run: StudyRun
    slot: str
    resumed: bool
    by_peer: bool = False


@dataclass(frozen=True, slots=True)
class RunEventForwarded(StudyEvent):
    """An event of one of the runs, as in its log; step and device events are not forwarded."""

    number: int
    run_id: str
    event: RunEvent


@dataclass(frozen=True, slots=True)
class RunEnded(StudyEvent):
    """The worker of a run has exited; the state says whether the run is done or can be resumed."""

    run: StudyRun
    by_peer: bool = False


@dataclass(frozen=True, slots=True)
class StudyEnded(StudyEvent):
    """The last event: all runs are done (`failed`: some failed), or stopped; `error` where the study itself failed."""

    study: Study | None
    outcome: Outcome
    reason: str = ""
    error: Failure | None = None


def is_forwarded(event: RunEvent) -> bool:
    """Whether an event of a run is forwarded as one of the study; step and device events are not."""
    return not isinstance(event, StepCompleted | DeviceSampled)


_KINDS: Mapping[type[StudyEvent], str] = {RunStartedInStudy: "RunBegan", RunEventForwarded: "RunSaid"}
"""Events whose `kind` in JSON is not the name of their class."""


def study_event_json(event: StudyEvent) -> dict[str, Any]:
    """The event as a JSON object, `kind` first."""
    kind = {"kind": _KINDS.get(type(event), type(event).__name__)}
    match event:
        case StudyStarted():
            return {**kind, **counts_json(event.study), "slots": list(event.slots)}
        case StudyWarned():
            return {**kind, "message": event.message}
        case RunStartedInStudy():
            about = {"slot": event.slot, "resumed": event.resumed, "elsewhere": event.by_peer}
            return {**kind, **run_json(event.run), **about}
        case RunEventForwarded():
            return {**kind, "number": event.number, "run_id": event.run_id, "event": to_json(event.event)}
        case RunEnded():
            return {**kind, **run_json(event.run), "elsewhere": event.by_peer}
        case StudyEnded():
            about = counts_json(event.study) if event.study else {}
            error = failure_json(event.error) if event.error else None
            return {**kind, **about, "outcome": event.outcome, "reason": event.reason, "error": error}
        case _:
            raise TypeError(f"no JSON form of {type(event).__name__}")


def run_json(run: StudyRun) -> dict[str, Any]:
    """A run of a study as a JSON object, without its full config."""
    keys = ("number", "label", "preset", "run_id", "state", "reason", "place")
    return {**{key: getattr(run, key) for key in keys}, "overrides": dict(run.overrides)}


def counts_json(study: Study) -> dict[str, Any]:
    """The progress of a study: the number of runs in each state."""
    states = ("waiting", "running", "completed", "failed", "pruned", "stopped")
    found: dict[str, Any] = {"study_id": study.study_id, "name": study.name, "planned": study.planned}
    return {**found, "runs": {state: study.count(state) for state in states}}
