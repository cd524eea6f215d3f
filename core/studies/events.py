"""What a study says while it runs: frozen events, and their form as one JSON object each."""

from __future__ import annotations

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
    """A process began to work on the study, with these places to train."""

    study: Study
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyWarned(StudyEvent):
    """Something a person should know, that the study survives."""

    message: str


@dataclass(frozen=True, slots=True)
class RunBegan(StudyEvent):
    """A run began, or went on in its directory; `elsewhere`: another process of the study trains it."""

    run: StudyRun
    slot: str
    resumed: bool
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class RunSaid(StudyEvent):
    """An event of one of the runs, as its log has it; those only for the eye (steps, device) are left out."""

    number: int
    run_id: str
    event: RunEvent


@dataclass(frozen=True, slots=True)
class RunEnded(StudyEvent):
    """A run's process is gone; the state tells whether the run is done or can go on."""

    run: StudyRun
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class StudyEnded(StudyEvent):
    """The last event: all runs done (`failed`: some in vain), or stopped; `error` where the study itself could not."""

    study: Study | None
    outcome: Outcome
    reason: str = ""
    error: Failure | None = None


def is_told(event: RunEvent) -> bool:
    """Whether an event of a run is told as the study's: those only for the eye (steps, device) are not."""
    return not isinstance(event, StepCompleted | DeviceSampled)


def study_event_json(event: StudyEvent) -> dict[str, Any]:
    """The event as a JSON object, its kind first."""
    kind = {"kind": type(event).__name__}
    match event:
        case StudyStarted():
            return {**kind, **counts_json(event.study), "slots": list(event.slots)}
        case StudyWarned():
            return {**kind, "message": event.message}
        case RunBegan():
            about = {"slot": event.slot, "resumed": event.resumed, "elsewhere": event.elsewhere}
            return {**kind, **run_json(event.run), **about}
        case RunSaid():
            return {**kind, "number": event.number, "run_id": event.run_id, "event": to_json(event.event)}
        case RunEnded():
            return {**kind, **run_json(event.run), "elsewhere": event.elsewhere}
        case StudyEnded():
            about = counts_json(event.study) if event.study else {}
            error = failure_json(event.error) if event.error else None
            return {**kind, **about, "outcome": event.outcome, "reason": event.reason, "error": error}
        case _:
            raise TypeError(f"no JSON form of {type(event).__name__}")


def run_json(run: StudyRun) -> dict[str, Any]:
    """A run of a study as scripts read it, without its whole configuration."""
    keys = ("number", "label", "preset", "run_id", "state", "reason", "place")
    return {**{key: getattr(run, key) for key in keys}, "overrides": dict(run.overrides)}


def counts_json(study: Study) -> dict[str, Any]:
    """How far a study is."""
    states = ("waiting", "running", "completed", "failed", "pruned", "stopped")
    found: dict[str, Any] = {"study_id": study.study_id, "name": study.name, "planned": study.planned}
    return {**found, "runs": {state: study.count(state) for state in states}}
