"""Damaged, forged and mistyped logs: readers tell what they skipped, make nothing up, and never fall over."""

from __future__ import annotations

import io
import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from corruptions import MUTATIONS, damaged, mistyped
from example_runs import Example, make_example_runs, make_study
from fault_counts import Faults
from rich.console import Console

from torchdeck.core.errors import LogsError
from torchdeck.core.events import EpochCompleted, LogReplaced, RunEvent, from_json, to_json
from torchdeck.core.results.curves import AXES, curve
from torchdeck.core.results.study_result import result_of
from torchdeck.core.runs.index import RunIndex, list_runs, parse_filter
from torchdeck.core.runs.line_format import MAX_LINE_BYTES, decode_line, encode_line
from torchdeck.core.runs.reader import EventReader, follow, load_record
from torchdeck.core.runs.record import RunRecord, read_summary, summarize
from torchdeck.core.studies.journal import CHANGES
from torchdeck.core.studies.ledger import Ledger, hold_run
from torchdeck.core.studies.store import load_study
from torchdeck.tui.format.bars import epoch_seconds_left, images_per_second, run_seconds_left
from torchdeck.tui.format.event_lines import lines_of
from torchdeck.tui.format.tables import record_json, run_page, runs_table
from torchdeck.tui.report.sections import run_document
from torchdeck.tui.state.study_reader import StudyLister
from torchdeck.tui.summaries.study_tables import tables

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run that ended well."""
    make_example_runs(tmp_path, NOW)
    return min(tmp_path.iterdir())


def printed(*parts: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=120).print(*parts, markup=False)
    return file.getvalue()


def test_a_damaged_log_gives_the_events_that_are_whole_and_counts_the_rest(
    folder: Path, faults: Faults, soak: int
) -> None:
    count, crashes, forged, miscounted = 5000 * soak, 0, 0, 0
    # Of a run that was completed, one that goes on, and one that failed: each kind of damage is done to each.
    logs = [path.read_bytes().splitlines(keepends=True) for path in sorted(folder.parent.glob("*/events.jsonl"))]
    known = {line[:-1]: repr(decode_line(line[:-1])) for lines in logs for line in lines}
    assert {json.loads(line)["kind"] for line in known} >= {"StepCompleted", "RunCompleted", "RunFailed"}
    for seed in range(count):
        content = damaged(logs[seed // len(MUTATIONS) % len(logs)], seed)
        (folder / "events.jsonl").write_bytes(content)
        reader = EventReader(folder)
        whole = content.split(b"\n")[:-1]
        try:
            told = [repr(event) for event in reader.read()]
        except Exception:  # noqa: BLE001 - any exception is the crash that is counted
            crashes += 1
            continue
        forged += told != [known[line] for line in whole if line in known]
        miscounted += reader.damaged != sum(line not in known for line in whole if line)
    faults("fuzzed logs", count, lost=forged, crashes=crashes)
    assert (crashes, forged, miscounted) == (0, 0, 0)


def test_without_the_checksum_a_changed_figure_would_pass(folder: Path) -> None:
    line = (folder / "events.jsonl").read_bytes().splitlines()[3]
    forged = line.replace(b'"lr":0.002', b'"lr":0.003')
    assert forged != line
    assert isinstance(from_json(json.loads(forged)), EpochCompleted)
    with pytest.raises(ValueError, match="damaged"):
        decode_line(forged)


def test_a_line_longer_than_any_event_costs_one_line(folder: Path, faults: Faults) -> None:
    path = folder / "events.jsonl"
    before = path.read_bytes()
    expected = len(list(EventReader(folder).read()))
    path.write_bytes(before[: before.index(b"\n") + 1] + b"x" * (MAX_LINE_BYTES + 5) + before[before.index(b"\n") :])
    reader = EventReader(folder)
    faults("fuzzed logs")
    assert len(list(reader.read())) == expected
    assert reader.damaged == 1


def sealed(body: Any) -> bytes:
    """A line with the right checksum, as somebody who knows the format would forge it."""
    content = json.dumps(body, separators=(",", ":")).encode()[:-1]
    return content + b',"crc":"%08x"}\n' % zlib.crc32(content)


def shown(record: RunRecord, events: list[RunEvent]) -> None:
    """All that front ends make of a record."""
    for event in events:
        lines_of(event, record)
    summarize(record)
    for look in (epoch_seconds_left, run_seconds_left, images_per_second):
        look(record)
    for axis in AXES:
        curve(record, "train/loss", axis)
        curve(record, "train/accuracy", axis)


def test_events_with_a_right_checksum_and_wrong_values_break_nothing(folder: Path, faults: Faults, soak: int) -> None:
    path, count, crashes = folder / "events.jsonl", 500 * soak, []
    (folder / "curves.json").unlink()
    bodies = [to_json(event) for event in EventReader(folder).read()]
    for seed in range(count):
        place = random.Random(seed).randrange(len(bodies))
        changed = [mistyped(body, seed) if number == place else body for number, body in enumerate(bodies)]
        path.write_bytes(b"".join(sealed(body) for body in changed if isinstance(body, dict)))
        try:
            record = load_record(folder)
            events = list(EventReader(folder).read())
            shown(record, events)
            if seed % 20 == 0:
                (row,) = (row for row in list_runs(folder.parent) if row.id == folder.name)
                printed(run_page(row, record))
                json.dumps(record_json(row, record))
            if seed % 100 == 0:
                run_document(list_runs(folder.parent)[0])
        except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
            crashes.append(f"{seed}: {error!r}")
    faults("forged events", count, crashes=len(crashes))
    assert crashes == []


FILES = ("run.json", "summary.json", "notes.json", "curves.json")


def test_files_with_wrong_values_are_read_as_far_as_they_go(folder: Path, faults: Faults, soak: int) -> None:
    (folder / "notes.json").write_text('{"tags": ["a", "b"], "note": "said"}')
    good = {name: (folder / name).read_bytes() for name in FILES}
    count, crashes, wanted = 350 * soak, [], parse_filter("quickstart epoch>1 created>1 training.epochs>=1 tag:a")
    index = RunIndex(folder.parent)
    for seed in range(count):
        name = FILES[seed % len(FILES)]
        made = mistyped(json.loads(good[name]), seed)
        if name == "curves.json" and isinstance(made, dict):
            made.pop("crc", None)
            content = sealed(made)
        else:
            content = json.dumps(made).encode()
        (folder / name).write_bytes(content)
        try:
            rows = [*index.rows(), *list_runs(folder.parent)]
            record = load_record(folder)
            shown(record, [])
            json.dumps([row.to_json() for row in rows])
            [wanted(row) for row in rows]
            if seed % 20 < 4:
                printed(runs_table(rows), *(run_page(row, record) for row in rows if row.id == folder.name))
        except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
            crashes.append(f"{seed} {name}: {error!r}")
        (folder / name).write_bytes(good[name])
    faults("mistyped files", count, crashes=len(crashes))
    assert crashes == []


def test_a_study_with_wrong_values_is_read_as_far_as_it_goes(tmp_path: Path, faults: Faults, soak: int) -> None:
    study = make_study(tmp_path, [Example("a", ("optimizer.lr=0.1",), hits=350), Example("b", state="failed")])
    good, count, crashes = (study / "study.json").read_bytes(), 300 * soak, []
    lister = StudyLister(tmp_path)
    for seed in range(count):
        (study / "study.json").write_bytes(json.dumps(mistyped(json.loads(good), seed)).encode())
        for read in (
            lambda: load_study(study),
            lister.read,
            lambda: printed(*(str(grid) for grid in tables(result_of(load_study(study), tmp_path)))),
        ):
            try:
                read()
            except LogsError:
                pass
            except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
                crashes.append(f"{seed}: {error!r}")
    faults("mistyped files", count, crashes=len(crashes))
    assert crashes == []


@pytest.mark.parametrize("wrong", [7, 0.5, True, "../x", None, ["a"]])
def test_a_run_of_a_study_whose_id_is_none_has_not_begun(tmp_path: Path, faults: Faults, wrong: Any) -> None:
    study = make_study(tmp_path, [Example("a", ("optimizer.lr=0.1",), hits=350)])
    content = json.loads((study / "study.json").read_bytes())
    content["runs"][0]["run_id"] = wrong
    (study / "study.json").write_bytes(json.dumps(content).encode())
    faults("mistyped files")
    assert load_study(study).runs[0].run_id is None
    (entry,) = StudyLister(tmp_path).read()
    assert entry.status != "unreadable"


def test_a_study_with_wrong_changes_is_read_as_far_as_it_goes(tmp_path: Path, faults: Faults, soak: int) -> None:
    study = make_study(tmp_path, [Example("a", ("optimizer.lr=0.1",), hits=350), Example("b", begun=False)])
    hold_run(study, 1)
    good = json.loads((study / CHANGES).read_bytes().rpartition(b',"crc"')[0] + b"}")
    count, crashes = 100 * soak, []
    for seed in range(count):
        (study / CHANGES).write_bytes(b"torn\n" + sealed(mistyped(good, seed)) + b"\n{")
        for read in (
            lambda: load_study(study),
            lambda: Ledger(study).close(),
            lambda: result_of(load_study(study), tmp_path),
        ):
            try:
                read()
            except LogsError:
                pass
            except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
                crashes.append(f"{seed}: {error!r}")
    faults("mistyped files", count, crashes=len(crashes))
    assert crashes == []


@pytest.mark.parametrize("damage", ["flip", "cut", "stale"])
def test_a_cache_that_does_not_fit_its_log_is_not_used(folder: Path, faults: Faults, damage: str) -> None:
    told, path = summarize(load_record(folder)), folder / "curves.json"
    content = bytearray(path.read_bytes())
    match damage:
        case "flip":
            place = content.index(b'"lr":0.002') + 9
            content[place] ^= 1
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-30])
        case _:
            # Another log of the same length: what the cache holds is not what it says.
            log = folder / "events.jsonl"
            lines = log.read_bytes().splitlines(keepends=True)
            log.write_bytes(b"".join([*lines[:-1], b"x" * (len(lines[-1]) - 1) + b"\n"]))
            told = {**told, "status": "died", "reason": "", "step": 8 * 23}
            told["peak_memory"] = load_record(folder).peak
    found = summarize(load_record(folder))
    faults("damaged caches")
    assert {**found, "warnings": [], "updated": 0} == {**told, "warnings": [], "updated": 0}


def test_a_summary_as_it_is_written_is_read_whole(folder: Path) -> None:
    told = summarize(load_record(folder))
    assert read_summary(json.loads(json.dumps(told))) == told


class Reading:
    """Reads a log again and again while something else happens to it."""

    def __init__(self, folder: Path) -> None:
        self.reader, self.record = EventReader(folder), RunRecord()

    def again(self) -> list[RunEvent]:
        events = list(self.reader.read())
        for event in events:
            self.record.apply(event)
        return events


def test_a_log_that_is_cut_under_its_reader_is_read_anew(folder: Path, faults: Faults) -> None:
    path, reading = folder / "events.jsonl", Reading(folder)
    reading.again()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    events = reading.again()
    faults("replaced logs")
    assert isinstance(events[0], LogReplaced)
    assert len(reading.record.epochs) == 1


@pytest.mark.parametrize("longer", [True, False])
def test_a_log_that_is_replaced_under_its_reader_leaves_nothing_of_the_old_one(
    folder: Path, faults: Faults, longer: bool
) -> None:
    path, reading = folder / "events.jsonl", Reading(folder)
    events = list(EventReader(folder).read())
    reading.again()
    others = [encode_line(to_other(event)) for event in events]
    path.write_bytes(b"".join([*others, *(others[-1:] if longer else [])]))
    reading.again()
    faults("replaced logs")
    assert {epoch.lr for epoch in reading.record.epochs} == {0.5}
    assert len(reading.record.epochs) == 8


def to_other(event: RunEvent) -> RunEvent:
    """The event as another run would tell it."""
    body = to_json(event)
    other = from_json({**body, "lr": 0.5, "t": event.t + 1} if body["kind"] == "EpochCompleted" else {**body, "t": 1.0})
    assert other is not None
    return other


def test_a_log_that_is_removed_under_its_reader_is_told(folder: Path, faults: Faults) -> None:
    reading = Reading(folder)
    reading.again()
    (folder / "events.jsonl").unlink()
    (told,) = reading.again()
    faults("replaced logs")
    assert told == LogReplaced(removed=True)
    assert lines_of(told, reading.record) == ["the log of this run was removed"]
    assert (reading.record.status, reading.record.epochs) == ("removed", [])
    assert reading.again() == []


def test_a_follower_of_a_log_that_is_removed_comes_to_an_end(folder: Path, faults: Faults) -> None:
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:-1]))
    begun = follow(folder, wait=lambda _: None)
    next(begun)
    (folder / "events.jsonl").unlink()
    faults("replaced logs")
    assert len(list(begun)) == len(lines) - 2
