"""What the benchmarks share: a candidate beside another in short alternating blocks, quartiles, one printed form.

A ratio is measured in rounds. In each round every candidate works for one short block, and one of them for a second
one: its two blocks over each other (A/A) show what the machine makes of no difference at all. Ratios are taken within
a round, so that a load that comes and goes meets both sides.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Clock = Literal["cpu", "wall"]
CLOCKS: dict[Clock, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}
"""CPU seconds of all threads of this process, and seconds that passed."""

Times = Mapping[Clock, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and its quartiles."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: a ratio, or a value with a unit; `same` is the candidate against itself (A/A).

    `total` is the ratio of the sums over all rounds: a cost that comes seldom shows in it, and not in a median.
    """

    name: str
    median: float
    lower: float
    upper: float
    pairs: int
    clock: str
    threads: int | None = None
    unit: str = "ratio"
    total: float | None = None
    same: Spread | None = None
    bar: str = ""

    @property
    def value(self) -> str:
        """The median, with its unit."""
        return _shown(self.median, self.unit)

    @property
    def quartiles(self) -> str:
        """The lower and the upper quartile."""
        return f"{_shown(self.lower, self.unit)} to {_shown(self.upper, self.unit)}"

    @property
    def again(self) -> str:
        """A/A, or nothing."""
        return f"{self.same.median:.3f} ({self.same.lower:.3f} to {self.same.upper:.3f})" if self.same else ""

    def line(self) -> str:
        """The figure as one line of text."""
        same = f"  A/A {self.again}" if self.same else ""
        total = f"  total {self.total:.3f}" if self.total is not None else ""
        threads = f", {self.threads} thread" + ("s" if self.threads > 1 else "") if self.threads else ""
        bar = f"  [{self.bar}]" if self.bar else ""
        return (
            f"{self.name:<66} {self.value} ({self.quartiles}){total}{same}  {self.clock}{threads}, n={self.pairs}{bar}"
        )


def _shown(number: float, unit: str) -> str:
    match unit:
        case "ratio":
            return f"{number:.3f}"
        case "%":
            return f"{number * 100:.2f} %"
        case "s":
            return f"{number:.3f} s"
        case _:
            return f"{number:,.0f} {unit}"


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of a candidate's block and of the blocks of the loops that followed it."""

    ours: Times
    others: tuple[Times, ...]


class Turns:
    """Blocks of `steps` batches of a candidate that calls `switch` after each, and of other loops in between.

    The first two loops are the same one twice; they take turns in coming first. `away` adds up the seconds that
    passed outside the candidate's blocks.
    """

    def __init__(self, steps: int, rounds: int) -> None:
        self.steps, self.rounds = steps, rounds
        self.loops: list[Callable[[int], object]] = []
        self.found: list[Round] = []
        self.away = 0.0
        self._warm = False

    @property
    def done(self) -> bool:
        """Whether all rounds were run."""
        return len(self.found) >= self.rounds

    def restart(self) -> None:
        """Begin a block of the candidate now."""
        self._begun = {name: clock() for name, clock in CLOCKS.items()}

    def switch(self, keep: bool = True) -> Times:
        """End the candidate's block and give its seconds; a block not kept is no round."""
        left = time.perf_counter()
        ours: Times = {name: clock() - self._begun[name] for name, clock in CLOCKS.items()}
        if keep:
            others = tuple(timed(lambda steps=steps: steps(self.steps)) for steps in self.loops)
            if self._warm:  # the first round warms up
                self.found.append(Round(ours, others))
            self._warm = True
            self.loops[:2] = self.loops[1::-1]
        self.away += time.perf_counter() - left
        self.restart()
        return ours

    def times(self, clock: Clock) -> tuple[list[float], ...]:
        """The seconds of the candidate's blocks, and those of each loop."""
        theirs = zip(*(item.others for item in self.found), strict=True)
        return [item.ours[clock] for item in self.found], *([time[clock] for time in each] for each in theirs)


def spread(values: Sequence[float]) -> Spread:
    """The median and the quartiles of some values."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)


def figure(name: str, values: Sequence[float], clock: str, **more: Any) -> Figure:
    """The figure of values that were each measured once."""
    found = spread(values)
    return Figure(name, found.median, found.lower, found.upper, len(values), clock, **more)


def figure_from(body: Mapping[str, Any]) -> Figure:
    """The figure that a benchmark printed as JSON."""
    return Figure(**{**body, "same": Spread(**body["same"]) if body["same"] else None})


def ratio(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    same: tuple[Sequence[float], Sequence[float]],
    clock: str,
    **more: Any,
) -> Figure:
    """What `above` is over `below`, round by round; `same` is one candidate's two blocks of each round."""
    ratios = [over / under for over, under in zip(above, below, strict=True)]
    again = spread([second / first for first, second in zip(*same, strict=True)])
    return figure(name, ratios, clock, total=sum(above) / sum(below), same=again, **more)


def speed_ratio(
    name: str, ours: Sequence[float], base: Sequence[float], again: Sequence[float], clock: str, **more: Any
) -> Figure:
    """How fast `ours` is over `base`, both in seconds of the same work; `again` is `base` once more."""
    both = [(first + second) / 2 for first, second in zip(base, again, strict=True)]
    return ratio(name, both, ours, (base, again), clock, **more)


def timed(work: Callable[[], object]) -> Times:
    """Seconds of some work by each clock."""
    before = {name: clock() for name, clock in CLOCKS.items()}
    work()
    return {name: clock() - before[name] for name, clock in CLOCKS.items()}


def alternate(arms: Mapping[str, Callable[[], Times]], rounds: int, limit: float = math.inf) -> dict[str, list[Times]]:
    """The times of each arm in rounds, every second one in the opposite order, after one round to warm up.

    After `limit` seconds there are no more rounds; a figure tells how many it comes from.
    """
    found: dict[str, list[Times]] = {name: [] for name in arms}
    end = time.perf_counter() + limit
    for number in range(rounds + 1):
        if number > 2 and time.perf_counter() > end:
            break
        for name, block in list(arms.items())[:: 1 if number % 2 else -1]:
            times = block()
            if number:
                found[name].append(times)
    return found


def seconds(times: Sequence[Times], clock: Clock) -> list[float]:
    """The seconds that one clock showed."""
    return [time[clock] for time in times]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--short", action="store_true", help="a minute or less, with more spread")
    return made


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    from torchdeck.core.devices.torch_device import (
        processor,  # torch, seconds, which the peers' processes need not load for this
    )

    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "textual")},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def told(benchmark: str, figures: Sequence[Figure], **more: Any) -> dict[str, Any]:
    """The one object that a benchmark prints."""
    return {"benchmark": benchmark, "machine": machine(), **more, "figures": [asdict(item) for item in figures]}


def report(benchmark: str, figures: Sequence[Figure], as_json: bool, **more: Any) -> None:
    """Print the figures as one JSON object, or as text."""
    if as_json:
        print(json.dumps(told(benchmark, figures, **more), indent=2))
        return
    where = machine()
    print(f"{benchmark}: {where['processor']}, {where['cpus']} CPUs, load {where['load']}, torch {where['torch']}")
    for item in figures:
        print(f"  {item.line()}")
    for name, value in more.items():
        print(f"  {name}: {value}")
