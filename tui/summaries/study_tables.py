"""The tables of a study's result as plain texts, for the terminal, a report and a page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.results.comparison import Standing
from ...core.results.run_result import Accuracy, ResultRow, seconds_to_percent
from ...core.results.statistics import Spread
from ...core.results.study_result import StudyResult, varied
from ...core.utils.flatten import as_mapping
from ..format.values import count, duration, figure, percent, safe, size
from .run_settings import label, shown

MOST_PERCENTS = 8


@dataclass(frozen=True, slots=True)
class Grid:
    """A titled table of texts: which columns stand at the right, which rows are the best, and a note below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    strong: frozenset[int] = frozenset()
    note: str = ""


def tables(result: StudyResult, narrow: bool = False) -> list[Grid]:
    """All tables of a study that have something to tell, in the order one reads them; `narrow` ones fit 80 cells."""
    found = [
        *((settings_table(result), short_results_table(result)) if narrow else (results_table(result),)),
        cost_table(result),
        trouble_table(result),
        reported_table(result),
        seeds_table(result),
        comparison_table(result),
        milestones_table(result) if {"time-to-accuracy", "comparison"} & set(result.study.shows) else None,
        search_table(result),
    ]
    return [table for table in found if table is not None]


def results_table(result: StudyResult) -> Grid:
    """What each run reached, beside the settings that vary."""
    paths = result.study.varied
    head = ("run", *(label(path) for path in paths), "state", "epochs", "best test", "final test", "train", "gap")
    rows = tuple(_result_cells(result, row, paths) for row in result.rows)
    at = len(paths) + 2
    note = "In brackets the 95 % Wilson interval over the test images. Train and gap are of the last epoch."
    strong = frozenset(place for place, row in enumerate(result.rows) if row is result.best and len(rows) > 1)
    return Grid("Accuracy of each run", head, rows, frozenset([*range(1, at - 1), *range(at, len(head))]), strong, note)


def _result_cells(result: StudyResult, row: ResultRow, paths: Sequence[str]) -> tuple[str, ...]:
    given = varied(result.study, row)
    settings = (safe(shown(given[path])) for path in paths)
    gap = "-" if row.gap is None else f"{100 * row.gap:.2f} pt"
    done = f"{row.epochs}" + (f", best {row.best.epoch}" if row.best else "")
    reached = (with_interval(row.best), with_interval(row.final), percent(row.train_accuracy), gap)
    return (safe(row.label), *settings, row.state, done, *reached)


def settings_table(result: StudyResult) -> Grid | None:
    """The settings that vary, of each run; None where none does."""
    paths = result.study.varied
    given = [(row, varied(result.study, row)) for row in result.rows]
    rows = tuple((safe(row.label), *(safe(shown(values[path])) for path in paths)) for row, values in given)
    right = frozenset(range(1, len(paths) + 1))
    return Grid("What varies", ("run", *map(label, paths)), rows, right) if paths else None


def short_results_table(result: StudyResult) -> Grid:
    """What each run reached, without its settings and with the interval of its best accuracy only."""
    states = {row.state for row in result.rows} != {"completed"}
    head = ("run", *(("state",) if states else ()), "epochs", "best", "95 %", "final", "train", "gap")
    rows: list[tuple[str, ...]] = []
    for row in result.rows:
        found = row.best.interval if row.best else None
        ends = f"{100 * found.low:.1f}-{100 * found.high:.1f}" if found else "-"
        best, final = (_bare(of.value if of else None) for of in (row.best, row.final))
        gap = "-" if row.gap is None else f"{100 * row.gap:.2f}"
        state = ("done" if row.finished else row.state,) if states else ()
        rows.append((safe(row.label), *state, str(row.epochs), best, ends, final, _bare(row.train_accuracy), gap))
    first = 2 if states else 1
    strong = frozenset(place for place, row in enumerate(result.rows) if row is result.best and len(rows) > 1)
    note = "In percent. Best (with its 95 % interval) and final are of the test split; train and gap are the last."
    return Grid("Accuracy of each run", head, tuple(rows), frozenset(range(first, len(head))), strong, note)


def _bare(fraction: float | None) -> str:
    return percent(fraction).removesuffix(" %")


def with_interval(accuracy: Accuracy | None) -> str:
    """An accuracy and its interval: 64.66 % (63.7 to 65.6)."""
    if accuracy is None:
        return "-"
    found = accuracy.interval
    ends = f" ({100 * found.low:.1f} to {100 * found.high:.1f})" if found else ""
    return percent(accuracy.value) + ends


def cost_table(result: StudyResult) -> Grid | None:
    """What each run cost; None where none has begun."""
    rows = [row for row in result.rows if row.epochs]
    if not rows:
        return None
    head = ("run", "training time", "images/s", "device use", "peak memory", "parameters")
    return Grid("Cost of each run", head, tuple(map(_cost_cells, rows)), frozenset(range(1, 6)))


def _cost_cells(row: ResultRow) -> tuple[str, ...]:
    use = percent(row.utilization, 0)
    figures = (duration(row.train_seconds), count(row.images_per_second), use, size(row.peak_memory))
    return (safe(row.label), *figures, count(row.parameters))


def trouble_table(result: StudyResult) -> Grid | None:
    """The runs that did not come to their end, and why; None where all did."""
    rows = [row for row in result.rows if row.state != "completed" and row.reason]
    cells = tuple((safe(row.label), row.state, safe(row.reason)) for row in rows)
    return Grid("Runs that did not come to their end", ("run", "state", "reason"), cells) if rows else None


def reported_table(result: StudyResult) -> Grid | None:
    """The reported figures beside the reached ones; None where nothing is reported."""
    if not result.standings:
        return None
    rows = tuple((safe(found.label), *standing_cells(found)) for found in result.standings)
    head = ("run", "figure", "reported", "reached", "over the seeds", "outcome")
    title = "Reported figures and what was reached"
    if not any(found.seeds for found in result.standings):
        head, rows = head[:4] + head[5:], tuple(row[:4] + row[5:] for row in rows)
        return Grid(title, head, rows, frozenset([2, 3]))
    note = "Within noise: the mean of three seeds or more is at most two of their standard deviations short of it."
    return Grid(title, head, rows, frozenset([2, 3, 4]), note=note)


def standing_cells(found: Standing) -> tuple[str, ...]:
    """A reported figure, what was reached, the seeds' mean, and the verdict."""
    claim = found.figure
    metric = claim.metric.replace("/", " ")
    seeds = told_spread(found.seeds, claim.metric) if found.seeds else ""
    return (
        f"{metric}, {claim.at}",
        figure(claim.metric, claim.value),
        figure(claim.metric, found.reached),
        seeds,
        (found.words),
    )


def seeds_table(result: StudyResult) -> Grid | None:
    """The groups of runs that differ only in their seed; None where there is none."""
    rows = tuple(
        (
            safe(group.label),
            ", ".join(safe(seed) for seed in group.seeds),
            told_spread(group.best, "accuracy"),
            told_spread(group.final, "accuracy"),
            duration(group.train_seconds.mean if group.train_seconds else None),
        )
        for group in result.groups
    )
    head = ("runs", "seeds", "best test", "final test", "mean time")
    note = "Mean and sample standard deviation of the completed runs."
    return Grid("Seeds", head, rows, frozenset([2, 3, 4]), note=note) if rows else None


def told_spread(found: Spread | None, metric: str) -> str:
    """A mean, its deviation and of how many: 53.00 % ± 0.80 (n = 12)."""
    if found is None:
        return "-"
    if not metric.endswith("accuracy"):
        deviation = "" if found.deviation is None else f" ± {found.deviation:.4f}"
        return f"{found.mean:.4f}{deviation} (n = {found.number})"
    deviation = "" if found.deviation is None else f" ± {100 * found.deviation:.2f}"
    return f"{percent(found.mean)}{deviation} (n = {found.number})"


def comparison_table(result: StudyResult) -> Grid | None:
    """Each run against the best one by McNemar's test; None where no two kept their predictions."""
    if not any(found.test for found in result.comparisons):
        return None
    best = safe(result.rows[result.comparisons[0].against].label)
    rows = tuple((safe(result.rows[found.number].label), safe(found.words)) for found in result.comparisons)
    note = (
        "McNemar's test, two-sided, on the predictions of each run's best epoch for the same test images; "
        "p is not corrected for the number of comparisons."
    )
    return Grid(f"Against the best: {best}", ("run", "outcome"), rows, note=note)


def milestones_table(result: StudyResult) -> Grid | None:
    """Seconds of training to some whole percents of test accuracy; None where none was reached."""
    found = {row.number: seconds_to_percent(row.record) for row in result.rows if row.epochs}
    chosen = _chosen(found)
    if not chosen:
        return None
    rows = tuple(
        (safe(result.rows[number].label), *(duration(times.get(whole)) for whole in chosen))
        for number, times in found.items()
    )
    head = ("run", *(f"{whole} %" for whole in chosen))
    return Grid("Training time to a test accuracy", head, rows, frozenset(range(1, len(head))))


def _chosen(found: Mapping[int, Mapping[int, float]]) -> list[int]:
    """The percents to show: of those above the first epoch of the slowest to learn, evenly spaced ones and the last."""
    top = max((max(times, default=0) for times in found.values()), default=0)
    if not top:
        return []
    first = min((_first_end(times) for times in found.values() if times), default=1)
    step = next(step for step in (1, 2, 5, 10, 20) if (top - first) / step <= MOST_PERCENTS - 1)
    start = -(-first // step) * step
    return sorted({*range(start, top + 1, step), top})


def _first_end(times: Mapping[int, float]) -> int:
    """The highest percent that a run had after its first epoch."""
    first = min(times.values())
    return max(whole for whole, seconds in times.items() if seconds == first)


def search_table(result: StudyResult) -> Grid | None:
    """What a search looked through, and how; None for other studies."""
    search = result.study.search
    if search is None:
        return None
    done = len(result.rows) - result.count("waiting") - result.count("running")
    pruned = result.count("pruned")
    how = [
        ("looked for", f"{search.direction} {search.metric}"),
        ("trials", f"{done} of {search.trials or len(result.rows)}, {pruned} of them pruned"),
        ("sampler, pruner", f"{search.sampler}, {search.pruner}"),
        *((path, _space(value)) for path, value in search.space.items()),
    ]
    return Grid("What was searched", ("", ""), tuple((safe(name), safe(value)) for name, value in how))


def _space(value: Any) -> str:
    kind, of = as_mapping(value).get("kind"), as_mapping(value)
    if kind is None:
        return str(value)
    inner = of.get("choices") or (of.get("low"), of.get("high"))
    return f"{kind}({shown(inner)})"
