"""Compare runs: group seeds of one configuration, check reported figures, and test differences for significance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..errors import LogsError
from ..runs.record import RunRecord
from ..runs.reported import FullRun, FullRunOf, ReportedFigure, no_full_run, standing
from .predictions import PREDICTIONS, read_predictions
from .run_result import ResultRow
from .statistics import McNemar, Spread, mcnemar, spread

_BETWEEN = " ,·=:-()"
"""Characters between a name and its seed in a label."""


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """Runs that differ only in their seed: their numbers, and the spread of their figures."""

    label: str
    numbers: tuple[int, ...]
    seeds: tuple[str, ...]
    final: Spread | None
    best: Spread | None
    train_seconds: Spread | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A reported figure compared with a run: `words` is "reached", "within noise", "short by ..." or why it is open."""

    number: int
    label: str
    figure: ReportedFigure
    reached: float | None
    seeds: Spread | None
    words: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run compared with the best one on the same test images; `why_not` explains a missing test."""

    number: int
    against: int
    test: McNemar | None
    why_not: str = ""

    @property
    def words(self) -> str:
        """The outcome of the test, or why there is none."""
        return self.test.words if self.test else self.why_not


def seed_groups(rows: Sequence[ResultRow]) -> tuple[SeedGroup, ...]:
    """All groups of at least two runs that differ only in `training.seed`."""
    return tuple(_group(found) for found in grouped_by_seed(rows) if len(found) > 1)


def grouped_by_seed(rows: Sequence[ResultRow]) -> list[list[ResultRow]]:
    """The rows, grouped by equal settings except the seed; rows without settings are groups of their own."""
    groups: dict[str, list[ResultRow]] = {}
    for row in rows:
        groups.setdefault(row.seed_group_key or f"run {row.number}", []).append(row)
    return list(groups.values())


def _group(rows: Sequence[ResultRow]) -> SeedGroup:
    return SeedGroup(
        label=group_label(rows),
        numbers=tuple(row.number for row in rows),
        seeds=tuple(str(row.seed) for row in rows),
        final=spread([row.final.value for row in rows if row.final and row.finished]),
        best=spread([row.best.value for row in rows if row.best and row.finished]),
        train_seconds=spread([row.train_seconds for row in rows if row.train_seconds and row.finished]),
    )


def group_label(rows: Sequence[ResultRow]) -> str:
    """The common start of a group's labels where only the seed follows it, else the group's seeds."""
    common = _shared_start([row.label for row in rows])
    rests = [row.label.removeprefix(common) for row in rows]
    if not all(_only_seed(rest, row.seed) for rest, row in zip(rests, rows, strict=True)):
        return _seeds_text(rows)
    # Leading digits that the seeds share do not belong to the name.
    name = common.rstrip("0123456789") if any(rest[:1].isdigit() for rest in rests) else common
    return name.rstrip(_BETWEEN).removesuffix("seed").rstrip(_BETWEEN) or _seeds_text(rows)


def _shared_start(labels: Sequence[str]) -> str:
    """The common prefix of all labels, which is that of the first and the last in sorted order."""
    first, last = min(labels), max(labels)
    same = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:same]


def _only_seed(rest: str, seed: object) -> bool:
    """Whether the rest of a label is only a seed, perhaps without leading digits that all seeds share."""
    words = rest.strip(_BETWEEN).removeprefix("seed").strip(_BETWEEN)
    return not words or str(seed).endswith(words)


def _seeds_text(rows: Sequence[ResultRow]) -> str:
    seeds = [row.seed for row in rows]
    first = seeds[0] if isinstance(seeds[0], int) else 0
    if len(seeds) > 2 and seeds == list(range(first, first + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}" if len(seeds) <= 4 else f"{len(seeds)} seeds"


def standings(rows: Sequence[ResultRow], full_run_of: FullRunOf = no_full_run) -> tuple[Standing, ...]:
    """Every reported figure compared with what was reached, once for each group of seeds."""
    return tuple(found for group in grouped_by_seed(rows) for found in _standings(group, full_run_of))


def _standings(group: Sequence[ResultRow], full_run_of: FullRunOf) -> list[Standing]:
    """The run with seed 1 is compared, the others give the noise; so no seed is chosen for its result."""
    row = next((row for row in group if row.seed == 1), group[0])
    label = row.label if len(group) == 1 else group_label(group)
    return [_standing(row, label, claim, group, full_run_of(row.preset, claim)) for claim in row.reported]


def _standing(
    row: ResultRow, label: str, claim: ReportedFigure, group: Sequence[ResultRow], full: FullRun | None
) -> Standing:
    reached = claim.reached(row.record.epochs, row.finished)
    values = [value for other in group if (value := claim.reached(other.record.epochs, other.finished)) is not None]
    seeds = spread(values) if len(values) > 1 else None
    starting = row.state == "running" and not row.record.started
    record = RunRecord(status="running") if starting else row.record
    return Standing(row.number, label, claim, reached, seeds, standing(claim, record, full, values))


def best_row(rows: Sequence[ResultRow]) -> ResultRow | None:
    """The row with the highest test accuracy of any epoch, the first of equal ones."""
    return max((row for row in rows if row.best), key=lambda row: row.best.value if row.best else 0.0, default=None)


def compare_with_best(rows: Sequence[ResultRow]) -> tuple[Comparison, ...]:
    """McNemar's test of each run against the best one that has predictions."""
    rated = [row for row in rows if row.best]
    kept = {row.number: _answers(row) for row in rated}
    best = best_row([row for row in rated if isinstance(kept[row.number], _Answers)])
    if best is None or len(rated) < 2:
        return ()
    theirs = kept[best.number]
    assert isinstance(theirs, _Answers)
    return tuple(
        _compare(row.number, best.number, kept[row.number], theirs) for row in rated if row.number != best.number
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """Which test images a run classified correctly, as a bit set, the number of images, and a hash of their labels."""

    right: bytes
    images: int
    labels: bytes


def _answers(row: ResultRow) -> _Answers | str:
    """The answers of a run in its best epoch, or why there are none."""
    if row.folder is None or row.record.started is None:
        return "it has no run folder"
    path = row.folder / PREDICTIONS
    try:
        found = path.stat()
    except OSError:
        return "it has no predictions"
    return _read_answers(row.folder, len(row.record.started.class_names), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _read_answers(folder: Path, classes: int, *_: int) -> _Answers | str:
    """The answers in a run folder, cached as long as the file of predictions is the same."""
    try:
        found = read_predictions(folder, classes)
    except LogsError as error:
        return "it has no predictions" if "is missing" in error.message else error.message
    right = found.classes[:, 0] == found.labels
    return _Answers(np.packbits(right).tobytes(), len(right), sha256(found.labels.tobytes()).digest())


def _compare(number: int, best: int, ours: _Answers | str, theirs: _Answers) -> Comparison:
    if isinstance(ours, str):
        return Comparison(number, best, None, ours)
    if ours.labels != theirs.labels:
        return Comparison(number, best, None, "it was evaluated on other images")
    mine, others = (int.from_bytes(seen.right) for seen in (ours, theirs))
    return Comparison(number, best, mcnemar((others & ~mine).bit_count(), (mine & ~others).bit_count(), ours.images))
