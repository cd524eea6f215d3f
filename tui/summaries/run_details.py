"""The details of a run as text of a given width and height."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ...core.runs.index import RunRow
from ...core.runs.manage import read_notes
from ...core.runs.record import RunRecord
from ...core.runs.reported import ReportedFigure, read_reported, standing
from ...presets import full_run
from ..format.values import count, duration, figure, moment, percent, safe, size
from .run_columns import Look, accuracy, devices, final, name_of, number
from .run_settings import changes, label, settings_in, shown, weight

TWO_COLUMNS = 62
LABEL = 12
LEFT_HALF = 30
Pair = tuple[str, Text]


def details(row: RunRow, record: RunRecord | None, look: Look, width: int, height: int) -> Text:
    """A run's head, then its results and settings, side by side if the width allows it."""
    head = _head(row, record, look, width)
    if row.status == "unreadable":
        return Text("\n").join(head)
    head += _pairs([*reported_figures(row, record, look), *_device(row)], look, width)
    numbers, room = figures(row), height - len(head) - 1
    if width >= TWO_COLUMNS:
        settings = _settings(row, look, room)
        return Text("\n").join([*head, Text(), *_side_by_side(numbers, settings, look, width)])
    settings = _settings(row, look, room - len(numbers) - 1)
    return Text("\n").join([*head, Text(), *_pairs([*numbers, ("", Text()), *settings], look, width)])


def two_lines(row: RunRow, look: Look, width: int) -> Text:
    """The most important details in two lines."""
    results = " · ".join(f"{name} {value.plain}" for name, value in figures(row) if value.plain != "-")
    reason = safe(row.problem or row.summary.get("reason") or "") if row.status != "completed" else ""
    about = (safe(row.preset) if row.name else "", row.id, reason)
    head = _title(row, look).append("  " + " · ".join(part for part in about if part), look.ink("quiet"))
    return Text("\n").join([_cut(head, width), _cut(Text(results, look.ink("quiet")), width)])


def figures(row: RunRow) -> list[Pair]:
    """The results in a run's summary, without missing left_lines."""
    known, best_epoch = row.summary, number(row.summary.get("best_epoch"))
    at = f"  epoch {best_epoch:.0f}" if best_epoch is not None else ""
    loss = number(row.figure("test/loss"))
    found = [
        ("best", percent(accuracy(row)) + at if accuracy(row) is not None else "-"),
        ("final", percent(final(row))),
        ("loss", figure("test/loss", loss)),
        ("time", duration(number(known.get("train_seconds")))),
        ("images/s", _speed(row)),
        ("parameters", count(number(known.get("parameters") or row.header.get("parameters")))),
        ("memory", size(number(known.get("peak_memory")))),
    ]
    return [(name, Text(value)) for name, value in found if value != "-"]


def _speed(row: RunRow) -> str:
    """Images per second; on several devices also those of each."""
    whole, many = number(row.summary.get("images_per_second")), devices(row)
    return count(whole) + (f"  {count(whole / many)} each" if whole is not None and many > 1 else "")


def _device(row: RunRow) -> list[Pair]:
    name = safe(row.summary.get("device") or "")
    return [("devices" if devices(row) > 1 else "device", Text(name))] if name else []


def reported_figures(row: RunRow, record: RunRecord | None, look: Look) -> list[Pair]:
    """The reported figures, and what the run reached."""
    found = read_reported(row.header.get("reported", []))
    return [(f"reported {claim.at}", _claim(claim, record, look)) for claim in found]


def _claim(claim: ReportedFigure, record: RunRecord | None, look: Look) -> Text:
    text = Text(figure(claim.metric, claim.value))
    if record is None:
        return text
    reached = claim.reached(record.epochs, record.status == "completed")
    words = standing(claim, record, full_run(record.started.preset if record.started else "", claim))
    if reached is None:
        return text.append(f"  {words}", look.ink("quiet"))
    text.append(f"  reached {figure(claim.metric, reached)} ")
    if words == "reached":
        return text.append(look.glyph("completed")[0], look.ink("good"))
    return text.append(words, look.ink("warn" if words.startswith("short") else "quiet"))


def _head(row: RunRow, record: RunRecord | None, look: Look, width: int) -> list[Text]:
    lines = [_title(row, look)]
    reason = safe(row.problem or row.summary.get("reason") or "")
    made = moment(row.created) if 0 < row.created < 4e9 else ""
    lines.append(Text(" · ".join(part for part in (safe(row.preset), row.id, made) if part), look.ink("quiet")))
    if reason:
        bad = row.status in ("failed", "died", "unreadable")
        lines.append(Text(reason, look.ink("bad" if bad else "quiet")))
    if row.tags:
        lines.append(Text("tags  ", look.ink("quiet")).append(safe(" ".join(row.tags)), look.ink("accent")))
    if note := safe(read_notes(row.folder)[1]):
        lines.append(Text("note  ", look.ink("quiet")).append(note))
    if record:
        lines += [Text(f"warning  {safe(warning)}", look.ink("warn")) for warning in record.warnings[-2:]]
        if missed := record.instead_of_best(record.weights_epoch):
            lines.append(Text(f"weights  {missed}", look.ink("warn")))
    return [_cut(line, width) for line in lines]


def _title(row: RunRow, look: Look) -> Text:
    sign, style = look.glyph(row.status)
    title = Text(no_wrap=True).append(name_of(row), look.ink("strong"))
    return title.append("  ").append(f"{sign} {safe(row.status)}", style)


def _settings(row: RunRow, look: Look, room: int) -> list[Pair]:
    """The settings that differ from the preset, then as many right_lines as fit."""
    values, changed_settings = settings_in(row), changes(row)
    paths = sorted(values, key=lambda path: (path not in changed_settings, weight(path)))
    room_needed = max(room, len(changed_settings))
    shown_paths = paths if len(paths) <= room_needed else paths[: max(0, room_needed - 1)]
    pairs = [(label(path), _setting(values[path], path in changed_settings, look)) for path in shown_paths]
    more = len(paths) - len(pairs)
    return [*pairs, ("", Text(f"+{more} more", look.ink("quiet")))] if more else pairs


def _setting(value: Any, changed: bool, look: Look) -> Text:
    sign = ("●", "*")[look.ascii_only]
    text = Text(shown(value), look.ink("strong") if changed else "")
    return text.append(f" {sign}", look.ink("accent")) if changed else text


def _side_by_side(left: Sequence[Pair], right: Sequence[Pair], look: Look, width: int) -> list[Text]:
    half = LEFT_HALF
    left_lines, right_lines = _pairs(left, look, half), _pairs(right, look, width - half - 2)
    lines: list[Text] = []
    for place in range(max(len(left_lines), len(right_lines))):
        line = left_lines[place] if place < len(left_lines) else Text(no_wrap=True)
        line.pad_right(half + 2 - line.cell_len)
        lines.append(line.append_text(right_lines[place]) if place < len(right_lines) else line)
    return lines


def _pairs(pairs: Sequence[Pair], look: Look, width: int) -> list[Text]:
    """Names and values in two columns."""
    label_width = min(max((cell_len(name) for name, _ in pairs), default=0), max(LABEL, width - LABEL))
    lines: list[Text] = []
    for name, value in pairs:
        start = Text(set_cell_size(name, label_width) + "  ", look.ink("quiet"), no_wrap=True)
        lines.append(_cut(Text(no_wrap=True).append_text(start).append_text(value), width))
    return lines


def _cut(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(max(1, width), overflow="ellipsis")
    return line
