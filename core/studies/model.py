"""A study and its runs, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PRUNED = "pruned: "
"""What the reason of a run begins with that a search stopped because it was no good."""


KILLED = "its process was killed"


GONE = "its run directory is not there"


HOLD = "on hold until it is retried"


Wish = Literal["", "hold", "again"]


RunState = Literal["waiting", "running", "completed", "failed", "pruned", "stopped"]


StudyStatus = Literal["running", "completed", "failed", "unfinished"]


Kind = Literal["list", "grid", "search"]


Sampler = Literal["tpe", "random"]


Pruner = Literal["median", "hyperband", "none"]


Direction = Literal["maximize", "minimize"]


SHOWS = ("table", "curves", "landscape", "regularization", "batch-size", "comparison", "time-to-accuracy")


DONE: tuple[RunState, ...] = ("completed", "failed", "pruned")


Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One configuration of a study, and what became of its run.

    `place` is where it trains or did, in words, `parent` the process of the study that saw to it, `deaths` how often
    what trained it died. A person's `wish` stands until it is met: one on hold is not taken up, until it is to be tried
    again.
    """

    number: int
    label: str
    overrides: Mapping[str, Any]
    preset: str
    config: Mapping[str, Any]
    reported: tuple[Mapping[str, Any], ...] = ()
    run_id: str | None = None
    state: RunState = "waiting"
    reason: str = ""
    place: str = ""
    parent: str = ""
    wish: Wish = ""
    deaths: int = 0

    @property
    def to_do(self) -> bool:
        """Whether it can be begun, or gone on with, now."""
        return self.state in ("waiting", "stopped") and self.wish != "hold"


@dataclass(frozen=True, slots=True)
class Search:
    """What a search tries: the space by dotted path, in how many trials, and what it looks for.

    `base` is the content (as a preset has it) that each trial's settings change.
    """

    space: Mapping[str, Mapping[str, Any]]
    trials: int
    base: Mapping[str, Any]
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    metric: str = "test/accuracy"
    direction: Direction = "maximize"
    seed: int = 1
    importance: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Study:
    """Many runs, one result.

    `given` are the `section.key=value` texts on the command line that made it, `tags` those that its runs get.
    """

    name: str
    title: str
    summary: str
    kind: Kind
    preset: str
    runs: tuple[StudyRun, ...]
    shows: tuple[str, ...] = ("table",)
    varied: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    search: Search | None = None
    given: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    study_id: str = ""
    created: float = 0.0

    def with_run(self, changed: StudyRun) -> Study:
        """The study with one run replaced, or added at its end."""
        runs = [changed if run.number == changed.number else run for run in self.runs]
        return replace(self, runs=tuple(runs if changed.number < len(self.runs) else [*runs, changed]))

    @property
    def planned(self) -> int:
        """The number of runs it comes to."""
        return max(self.search.trials if self.search else 0, len(self.runs))

    @property
    def finished(self) -> bool:
        """Whether no run is left to do."""
        return len(self.runs) >= self.planned and all(run.state in DONE for run in self.runs)

    def count(self, state: RunState) -> int:
        """How many runs are in a state; those of a search that are yet to be drawn are waiting."""
        undrawn = self.planned - len(self.runs) if state == "waiting" else 0
        return sum(run.state == state for run in self.runs) + undrawn
