"""A study as text: its head, the selected run, and its findings and tables."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from rich.style import Style
from rich.text import Text

from ...core.results.chart_data import panels
from ...core.results.study_result import StudyResult
from ...core.studies.model import DONE, Study
from ..charts.study_charts import chart_text
from ..format.values import count, safe
from ..state.study_reader import StudyEntry, StudySnapshot
from .run_columns import Look, bar
from .study_columns import Line, share_done, sign
from .study_sentences import findings
from .study_tables import Grid, tables

BAR = 20
GAP = 2
MIN_NAME_WIDTH = MIN_TEXT_WIDTH = 14
RUN_KEYS = {
    "running": "X stops it", "waiting": "X skips it", "failed": "t retries it", "stopped": "t retries it",
}  # fmt: skip
"""The keys for the selected run, by its state."""
SHOWN_AS_RUNS = ("Accuracy of each run", "Varied settings", "Unfinished runs")
"""Tables whose content the list of runs shows already."""


def head(snapshot: StudySnapshot, status: str, look: Look) -> Text:
    """A study's title and progress, in two lines."""
    study = snapshot.study
    text = Text(no_wrap=True, overflow="ellipsis").append_text(sign(status, look))
    text.append(f" {safe(study.title)}", look.ink("strong")).append(f"  {safe(study.study_id)}\n", look.ink("quiet"))
    text.append_text(bar(share_done(snapshot), BAR, look)).append(f"{share_done(snapshot):5.0%}  ", look.ink("strong"))
    return text.append(f"{status}: {safe(summary_of(study))}")


def run_brief(line: Line | None, paths: tuple[str, ...], look: Look) -> Text:
    """The selected run: its label and id, then why it ended, or its settings and the reported figure."""
    if line is None:
        return Text()
    text = Text(no_wrap=True, overflow="ellipsis").append(
        f"{line.run.number} {safe(line.run.label)}", look.ink("strong")
    )
    about = [line.run_id or "not started", *([RUN_KEYS[line.run.state]] if line.run.state in RUN_KEYS else [])]
    text.append(f"  {safe(' · '.join(about))}\n", look.ink("quiet"))
    if line.run.reason:
        return text.append(f"{line.run.state}: {safe(line.run.reason)}")
    parts = [f"on {line.run.place}"] if line.run.place else []
    parts += [f"{path.partition('.')[2]} {value}" for path, value in zip(paths, line.settings, strict=True)]
    if line.standing:
        parts.append(
            f"reported {100 * line.standing.figure.value:.2f} % {line.standing.figure.at}: {line.standing.words}"
        )
    return text.append(safe("  ".join([line.run.state, *parts])))


def entry_brief(entry: StudyEntry, look: Look) -> Text:
    """The selected study of the list."""
    study = entry.study
    if study is None:
        return Text(safe(entry.problem))
    text = Text().append(safe(study.title), look.ink("strong")).append(f"  {safe(study.study_id)}\n", look.ink("quiet"))
    parts = [study.summary, *(f"Reported: {words}" for words in study.reported)]
    return text.append(safe(" ".join(part for part in parts if part)))


def words_of(result: StudyResult, width: int, look: Look) -> Text:
    """The findings as sentences, the tables that are not in the list of runs, and the importance of settings."""
    blocks = [Text("\n").join([Text("Findings", look.ink("strong")), *(Text(safe(item)) for item in findings(result))])]
    blocks += [_table(grid, width, look) for grid in tables(result, narrow=True) if grid.title not in SHOWN_AS_RUNS]
    blocks += [
        chart_text(figure, width, ascii_only=look.ascii_only)
        for panel in panels(result)
        for figure in panel.figures
        if figure.kind != "lines"
    ]
    return Text("\n\n").join(blocks)


def _table(grid: Grid, width: int, look: Look) -> Text:
    """A table as lines: long names are cut, a last column of text is wrapped, columns that do not fit are left out."""
    texts = [grid.columns, *grid.rows]
    shown = _fitted([max(len(row[at]) for row in texts) for at in range(len(grid.columns))], grid.right, width)
    right = frozenset(place for place, at in enumerate(shown) if at in grid.right)
    lines = [Text(grid.title, look.ink("strong"))]
    for place, row in enumerate(texts):
        style = look.ink("quiet") if place == 0 else look.ink("strong") if place - 1 in grid.strong else Style.null()
        lines += [Text(line, style) for line in _row([row[at] for at in shown], list(shown.values()), right)]
    if grid.note:
        lines.append(Text(grid.note, look.ink("quiet")))
    return Text("\n").join(lines)


def _fitted(widths: Sequence[int], right: frozenset[int], width: int) -> dict[int, int]:
    """The columns to show and their widths: the first may be cut, a last one of text wrapped."""
    shown = dict(enumerate(widths))
    last = len(widths) - 1
    if last not in right:
        shown[last] = min(shown[last], MIN_TEXT_WIDTH)
    while (excess := _total(shown.values()) - width) > 0 and len(shown) > 2:
        if shown[0] > MIN_NAME_WIDTH:
            shown[0] = max(MIN_NAME_WIDTH, shown[0] - excess)
        else:
            # An outcome in words matters more than the numbers before it.
            shown.pop(list(shown)[-1 if last in right else -2])
    if last in shown and last not in right:
        shown[last] = max(1, min(widths[last], width - _total(shown.values()) + shown[last]))
    return shown


def _total(widths: Collection[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _row(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> list[str]:
    """A row as lines; only the last cell may wrap."""
    last = len(row) - 1
    cells = [_cell(text, widths[at], at in right) for at, text in enumerate(row[:last])]
    start = (" " * GAP).join([*cells, ""])
    parts = [row[last].rjust(widths[last])] if last in right else textwrap.wrap(row[last], widths[last]) or [""]
    return [((start if at == 0 else " " * len(start)) + part).rstrip() for at, part in enumerate(parts)]


def _cell(text: str, width: int, right: bool) -> str:
    if right:
        return text.rjust(width)
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)


def summary_of(study: Study) -> str:
    """The number of runs in a study, in total and by state."""
    states = [f"{number} {state}" for state in ("running", *DONE, "stopped") if (number := study.count(state))]
    return ", ".join([f"{count(study.planned)} runs", *states])
