"""The data model of studies: `Study`, `StudyRun`, `Search`, and the states of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PRUNED = "pruned: "
"""The reason of a run that a search pruned starts with this."""


KILLED = "its process was killed"


GONE = "its run folder is missing"


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
    """One configuration of a study, and the state of its run.

    `place` is where it trains or did, as text; `parent` the name of its coordinator; `deaths` how often its worker
    died. A user's `wish` stays until it is met: a run on hold is not started until the user retries it.
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
        """Whether it can be started or resumed now."""
        return self.state in ("waiting", "stopped") and self.wish != "hold"


@dataclass(frozen=True, slots=True)
class Search:
    """A search: the distribution of each setting by dotted path, the number of trials, and the metric to optimise.

    `base` is the config that the settings of each trial override.
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
    """Several runs with one result.

    `given` are the `section.key=value` overrides from the command line, `tags` the tags of its runs.
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
        """The study with one run replaced, or appended."""
        runs = [changed if run.number == changed.number else run for run in self.runs]
        return replace(self, runs=tuple(runs if changed.number < len(self.runs) else [*runs, changed]))

    @property
    def planned(self) -> int:
        """The number of runs when the study is complete."""
        return max(self.search.trials if self.search else 0, len(self.runs))

    @property
    def finished(self) -> bool:
        """Whether all runs are done."""
        return len(self.runs) >= self.planned and all(run.state in DONE for run in self.runs)

    def count(self, state: RunState) -> int:
        """The number of runs in a state; runs of a search that are not drawn yet count as waiting."""
        undrawn = self.planned - len(self.runs) if state == "waiting" else 0
        return sum(run.state == state for run in self.runs) + undrawn
