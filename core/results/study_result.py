"""The result of a study: the rows of its runs and what they say together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..events import plain
from .comparison import Comparison, SeedGroup, Standing, best_row, compare_with_best, seed_groups, standings
from .declaration import Declared
from .run_result import ResultRow, read_result_row, seconds_to_percent


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study, its rows in its own order, and what follows from them."""

    study: Declared
    rows: tuple[ResultRow, ...]
    groups: tuple[SeedGroup, ...]
    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def best(self) -> ResultRow | None:
        """The row with the highest test accuracy."""
        return best_row(self.rows)

    def row(self, number: int) -> ResultRow:
        """The row of a run's number."""
        return next(row for row in self.rows if row.number == number)

    def count(self, state: str) -> int:
        """How many runs are in a state."""
        return sum(row.state == state for row in self.rows)

    def comparison(self, number: int) -> Comparison | None:
        """A run against the best one."""
        return next((found for found in self.comparisons if found.number == number), None)

    def to_json(self) -> dict[str, Any]:
        """Everything but the curves, in JSON's types."""
        study = self.study
        about = {name: getattr(study, name) for name in ("study_id", "name", "title", "summary", "kind", "preset")}
        return plain(
            {
                **about,
                "shows": study.shows,
                "varied": study.varied,
                "reported": study.reported,
                "search": asdict(study.search) if study.search else None,
                "rows": [{**row.to_json(), "settings": varied(study, row)} for row in self.rows],
                "best": self.best.number if self.best else None,
                "groups": [asdict(group) for group in self.groups],
                "standings": [asdict(standing) for standing in self.standings],
                "comparisons": [{**asdict(found), "words": found.words} for found in self.comparisons],
                "seconds_to_percent": {str(row.number): _texts(seconds_to_percent(row.record)) for row in self.rows},
            }
        )


def _texts(found: dict[int, float]) -> dict[str, float]:
    return {str(percent): seconds for percent, seconds in found.items()}


def varied(study: Declared, row: ResultRow) -> dict[str, Any]:
    """The settings of a row that the study varies."""
    there = study.runs[row.number : row.number + 1]
    # A study numbers its runs by their place; where it does not, the run is looked for.
    declared = next((run for run in (*there, *study.runs) if run.number == row.number), None)
    overrides = declared.overrides if declared else {}
    return {path: row.config.get(path, overrides.get(path)) for path in study.varied}


def result_of(study: Declared) -> StudyResult:
    """The result of a study as its runs' directories have it now."""
    return concluded(study, tuple(read_result_row(run, study.logs) for run in study.runs))


def concluded(study: Declared, rows: tuple[ResultRow, ...]) -> StudyResult:
    """What rows that were read already say together."""
    return StudyResult(study, rows, seed_groups(rows), standings(rows), compare_with_best(rows))
