"""The result of a study: the rows of its runs, seed groups, comparisons and reported figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..events import plain
from ..runs.index import RunRow
from ..runs.reported import FullRunOf, no_full_run
from ..studies.model import Study, StudyRun
from ..studies.store import current_run_of
from ..utils.flatten import as_mapping, differing_paths, flatten
from .comparison import Comparison, SeedGroup, Standing, best_row, compare_with_best, seed_groups, standings
from .run_result import ResultRow, read_result_row, seconds_to_percent

_SEARCH = ("space", "trials", "sampler", "pruner", "metric", "direction", "importance")


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study, the rows of its runs in order, and what is derived from them."""

    study: Study
    rows: tuple[ResultRow, ...]
    groups: tuple[SeedGroup, ...]
    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def best(self) -> ResultRow | None:
        """The row with the highest test accuracy."""
        return best_row(self.rows)

    def count(self, state: str) -> int:
        """The number of runs in a state."""
        return sum(row.state == state for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Everything except the curves, in JSON's types."""
        study = self.study
        about = {name: getattr(study, name) for name in ("study_id", "name", "title", "summary", "kind", "preset")}
        return plain(
            {
                **about,
                "shows": study.shows,
                "varied": study.varied,
                "reported": study.reported,
                "search": {key: getattr(study.search, key) for key in _SEARCH} if study.search else None,
                "rows": [{**row.to_json(), "settings": varied(study, row)} for row in self.rows],
                "best": self.best.number if self.best else None,
                "groups": [asdict(group) for group in self.groups],
                "standings": [asdict(standing) for standing in self.standings],
                "comparisons": [{**asdict(found), "words": found.words} for found in self.comparisons],
                "seconds_to_percent": {str(row.number): seconds_to_percent(row.record) for row in self.rows},
            }
        )


def varied(study: Study, row: ResultRow) -> dict[str, Any]:
    """The settings of a row that vary in the study."""
    overrides = study.runs[row.number].overrides
    return {path: row.config.get(path, overrides.get(path)) for path in study.varied}


def result_of(study: Study, logs: Path, full_run_of: FullRunOf = no_full_run) -> StudyResult:
    """The result of a study, from its run folders now."""
    return conclude(study, tuple(read_result_row(run, logs) for run in study.runs), full_run_of)


def conclude(study: Study, rows: tuple[ResultRow, ...], full_run_of: FullRunOf = no_full_run) -> StudyResult:
    """The result of a study, from rows that were read already."""
    return StudyResult(study, rows, seed_groups(rows), standings(rows, full_run_of), compare_with_best(rows))


def side_by_side(rows: Sequence[RunRow], full_run_of: FullRunOf = no_full_run) -> StudyResult:
    """The result of any runs, as if they formed a study that varies the settings in which they differ."""
    assert rows, "there is nothing to put side by side"
    runs = tuple(_alone(place, row) for place, row in enumerate(rows))
    name = " · ".join(dict.fromkeys(run.label for run in runs))
    varied = tuple(differing_paths([flatten(run.config) for run in runs]))
    study = Study(name, name, "", "list", "", runs, ("table", "curves"), varied)
    return result_of(study, rows[0].folder.parent, full_run_of)


def _alone(number: int, row: RunRow) -> StudyRun:
    config = as_mapping(row.header.get("config"))
    return current_run_of(
        row, StudyRun(number, row.name or row.preset or row.id, {}, row.preset, config, run_id=row.id)
    )
