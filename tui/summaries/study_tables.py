"""The tables of a study's results as plain text, for terminal, report and page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.results.comparison import Standing
from ...core.results.run_result import Accuracy, ResultRow, seconds_to_percent
from ...core.results.statistics import Spread
from ...core.results.study_result import StudyResult, varied
from ...core.utils.flatten import as_mapping
from ..format.values import count, duration, figure, percent, points, safe, size
from .run_settings import label, shown

MAX_PERCENTS = 8
OPTIMISTIC = "The best of several runs and epochs on the same test images is optimistic."


@dataclass(frozen=True, slots=True)
class Grid:
    """A titled table of texts, with right-aligned columns, rows to emphasize, and a note."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    note: str = ""


def tables(result: StudyResult, narrow: bool = False) -> list[Grid]:
    """All tables of a study that are not empty, in reading order; `narrow` ones fit 80 cells."""
    found = [
        *((settings_table(result), short_results_table(result)) if narrow else (results_table(result),)),
        cost_table(result),
        unfinished_table(result),
        reported_table(result),
        seeds_table(result),
        comparison_table(result),
        milestones_table(result) if {"time-to-accuracy", "comparison"} & set(result.study.shows) else None,
        search_table(result),
    ]
    return [table for table in found if table is not None]


def results_table(result: StudyResult) -> Grid:
    """The results of each run, with its varied settings."""
    paths = result.study.varied
    head = ("run", *(label(path) for path in paths), "state", "epochs", "best test", "final test", "train", "gap")
    rows = tuple(_result_cells(result, row, paths) for row in result.rows)
    at = len(paths) + 2
    note = "In brackets: the 95 % Wilson interval over the test images. Train and gap are of the last epoch."
    strong = frozenset(place for place, row in enumerate(result.rows) if row is result.best and len(rows) > 1)
    return Grid("Accuracy of each run", head, rows, frozenset([*range(1, at - 1), *range(at, len(head))]), strong, note)


def ranking_table(result: StudyResult) -> Grid:
    """The runs by their best test accuracy, the highest first; runs without one last."""
    ranked = sorted(result.rows, key=lambda row: -row.best.value if row.best else 1)
    head = ("", "run", "best test", "final test", "time", "state")
    rows = tuple(
        (f"{place}", safe(row.label), with_interval(row.best), with_interval(row.final), duration(row.train_seconds),
         f"{row.state}: {safe(row.reason)}" if row.reason else row.state)
        for place, row in enumerate(ranked, 1)
    )  # fmt: skip
    note = f"In brackets: the 95 % Wilson interval over the test images. {OPTIMISTIC}" if len(rows) > 1 else ""
    return Grid("Ranking", head, rows, frozenset([0, 2, 3, 4]), frozenset([0]), note)


def _result_cells(result: StudyResult, row: ResultRow, paths: Sequence[str]) -> tuple[str, ...]:
    values_of = varied(result.study, row)
    settings = (safe(shown(values_of[path])) for path in paths)
    gap = points(row.gap, " pt")
    done = f"{row.epochs}" + (f", best {row.best.epoch}" if row.best else "")
    reached = (with_interval(row.best), with_interval(row.final), percent(row.train_accuracy), gap)
    return (safe(row.label), *settings, row.state, done, *reached)


def settings_table(result: StudyResult) -> Grid | None:
    """The varied settings of each run; None if there are none."""
    paths = result.study.varied
    values_of = [(row, varied(result.study, row)) for row in result.rows]
    rows = tuple((safe(row.label), *(safe(shown(values[path])) for path in paths)) for row, values in values_of)
    right = frozenset(range(1, len(paths) + 1))
    return Grid("Varied settings", ("run", *map(label, paths)), rows, right) if paths else None


def short_results_table(result: StudyResult) -> Grid:
    """The results of each run without its settings, and with the interval of the best accuracy only."""
    states = {row.state for row in result.rows} != {"completed"}
    head = ("run", *(("state",) if states else ()), "epochs", "best", "95 %", "final", "train", "gap")
    rows: list[tuple[str, ...]] = []
    for row in result.rows:
        found = row.best.interval if row.best else None
        ends = f"{100 * found.low:.1f}-{100 * found.high:.1f}" if found else "-"
        best, final = (_bare(of.value if of else None) for of in (row.best, row.final))
        gap = points(row.gap)
        state = ("done" if row.finished else row.state,) if states else ()
        rows.append((safe(row.label), *state, str(row.epochs), best, ends, final, _bare(row.train_accuracy), gap))
    first = 2 if states else 1
    strong = frozenset(place for place, row in enumerate(result.rows) if row is result.best and len(rows) > 1)
    note = "In percent. Best (with 95 % interval) and final: test split; train and gap: last epoch."
    return Grid("Accuracy of each run", head, tuple(rows), frozenset(range(first, len(head))), strong, note)


def _bare(fraction: float | None) -> str:
    return percent(fraction).removesuffix(" %")


def with_interval(accuracy: Accuracy | None) -> str:
    """An accuracy with its interval: 64.66 % (63.7 to 65.6)."""
    if accuracy is None:
        return "-"
    found = accuracy.interval
    ends = f" ({100 * found.low:.1f} to {100 * found.high:.1f})" if found else ""
    return percent(accuracy.value) + ends


def cost_table(result: StudyResult) -> Grid | None:
    """The cost of each run; None if none has started."""
    rows = [row for row in result.rows if row.epochs]
    if not rows:
        return None
    head = ("run", "training time", "images/s", "device use", "peak memory", "parameters")
    return Grid("Cost of each run", head, tuple(map(_cost_cells, rows)), frozenset(range(1, 6)))


def _cost_cells(row: ResultRow) -> tuple[str, ...]:
    use = percent(row.utilization, 0)
    figures = (duration(row.train_seconds), count(row.images_per_second), use, size(row.peak_memory))
    return (safe(row.label), *figures, count(row.parameters))


def unfinished_table(result: StudyResult) -> Grid | None:
    """Runs that failed or were stopped or pruned, and why; None if there are none."""
    rows = [row for row in result.rows if row.state != "completed" and row.reason]
    cells = tuple((safe(row.label), row.state, safe(row.reason)) for row in rows)
    return Grid("Unfinished runs", ("run", "state", "reason"), cells) if rows else None


def reported_table(result: StudyResult) -> Grid | None:
    """Reported and reached figures; None if nothing is reported."""
    if not result.standings:
        return None
    rows = tuple((safe(found.label), *standing_cells(found)) for found in result.standings)
    head = ("run", "figure", "reported", "reached", "over the seeds", "outcome")
    title = "Reported and reached figures"
    if not any(found.seeds for found in result.standings):
        head, rows = head[:4] + head[5:], tuple(row[:4] + row[5:] for row in rows)
        return Grid(title, head, rows, frozenset([2, 3]))
    note = (
        "Within noise: the mean of at least three seeds is at most two standard deviations below the reported figure."
    )
    return Grid(title, head, rows, frozenset([2, 3, 4]), note=note)


def standing_cells(found: Standing) -> tuple[str, ...]:
    """A reported figure, the reached one, the mean over seeds, and the outcome."""
    claim = found.figure
    metric = claim.metric.replace("/", " ")
    seeds = spread_text(found.seeds, claim.metric) if found.seeds else ""
    return (
        f"{metric}, {claim.at}",
        figure(claim.metric, claim.value),
        figure(claim.metric, found.reached),
        seeds,
        (found.words),
    )


def seeds_table(result: StudyResult) -> Grid | None:
    """Groups of runs that differ only in their seed; None if there are none."""
    rows = tuple(
        (
            safe(group.label),
            ", ".join(safe(seed) for seed in group.seeds),
            spread_text(group.best, "accuracy"),
            spread_text(group.final, "accuracy"),
            duration(group.train_seconds.mean if group.train_seconds else None),
        )
        for group in result.groups
    )
    head = ("runs", "seeds", "best test", "final test", "mean time")
    note = "Mean and sample standard deviation of the completed runs."
    return Grid("Seeds", head, rows, frozenset([2, 3, 4]), note=note) if rows else None


def spread_text(found: Spread | None, metric: str) -> str:
    """Mean, standard deviation and number: 53.00 % ± 0.80 (n = 12)."""
    if found is None:
        return "-"
    if not metric.endswith("accuracy"):
        deviation = "" if found.deviation is None else f" ± {found.deviation:.4f}"
        return f"{found.mean:.4f}{deviation} (n = {found.number})"
    deviation = "" if found.deviation is None else f" ± {100 * found.deviation:.2f}"
    return f"{percent(found.mean)}{deviation} (n = {found.number})"


def comparison_table(result: StudyResult) -> Grid | None:
    """Each run compared with the best one by McNemar's test; None without predictions of at least two runs."""
    if not any(found.test for found in result.comparisons):
        return None
    best = safe(result.rows[result.comparisons[0].against].label)
    rows = tuple((safe(result.rows[found.number].label), safe(found.words)) for found in result.comparisons)
    note = (
        "McNemar's test, two-sided, on the predictions of each run's best epoch for the same test images; "
        "p is not corrected for the number of comparisons. It speaks of these test images alone: another seed moves "
        f"{_moved_by_seeds(result)}."
    )
    return Grid(f"Compared with the best run: {best}", ("run", "outcome"), rows, note=note)


def _moved_by_seeds(result: StudyResult) -> str:
    """How much seeds move the best accuracy, where groups of them are in the study."""
    moved = [
        f"{safe(group.label)} by {100 * group.best.deviation:.1f} points"
        for group in result.groups
        if group.best and group.best.deviation is not None
    ]
    return ", ".join(moved) or "the accuracies too, by how much is not known without runs of several seeds"


def milestones_table(result: StudyResult) -> Grid | None:
    """The training time to some whole percents of test accuracy; None if none was reached."""
    found = {row.number: seconds_to_percent(row.record) for row in result.rows if row.epochs}
    chosen = _shown_percents(found)
    if not chosen:
        return None
    rows = tuple(
        (safe(result.rows[number].label), *(duration(times.get(whole)) for whole in chosen))
        for number, times in found.items()
    )
    head = ("run", *(f"{whole} %" for whole in chosen))
    return Grid("Training time to a test accuracy", head, rows, frozenset(range(1, len(head))))


def _shown_percents(found: Mapping[int, Mapping[int, float]]) -> list[int]:
    """The percents to show: evenly spaced, from the first epoch of the slowest run up to the highest reached."""
    top = max((max(times, default=0) for times in found.values()), default=0)
    if not top:
        return []
    first = min((_percent_after_first_epoch(times) for times in found.values() if times), default=1)
    step = next(step for step in (1, 2, 5, 10, 20) if (top - first) / step <= MAX_PERCENTS - 1)
    start = -(-first // step) * step
    return sorted({*range(start, top + 1, step), top})


def _percent_after_first_epoch(times: Mapping[int, float]) -> int:
    """The highest percent that a run reached in its first epoch."""
    first = min(times.values())
    return max(whole for whole, seconds in times.items() if seconds == first)


def search_table(result: StudyResult) -> Grid | None:
    """The search space and method of a search; None for other studies."""
    search = result.study.search
    if search is None:
        return None
    done = len(result.rows) - result.count("waiting") - result.count("running")
    pruned = result.count("pruned")
    how = [
        ("objective", f"{search.direction} {search.metric}"),
        ("trials", f"{done} of {search.trials or len(result.rows)}, {pruned} of them pruned"),
        ("sampler, pruner", f"{search.sampler}, {search.pruner}"),
        *((path, _space(value)) for path, value in search.space.items()),
    ]
    return Grid("Search", ("", ""), tuple((safe(name), safe(value)) for name, value in how))


def _space(value: Any) -> str:
    kind, of = as_mapping(value).get("kind"), as_mapping(value)
    if kind is None:
        return str(value)
    inner = of.get("choices") or (of.get("low"), of.get("high"))
    return f"{kind}({shown(inner)})"
