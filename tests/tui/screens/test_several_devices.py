"""A run on several devices, as the pages and commands show it: each rank's figures, and what they come to together."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from app_driver import screen_text, until
from example_runs import DEVICE, gpus, make_example_runs, make_run_on
from rich.console import Console

from torchdeck.core.devices.rank_devices import combine_samples, device_text, name_text, rank_devices
from torchdeck.core.events import DeviceSampled, LogReplaced, RunEvent, RunStarted, StepCompleted
from torchdeck.core.runs.index import list_runs, parse_filter
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.cli.run_progress import RichProgress
from torchdeck.tui.format.event_lines import lines_of
from torchdeck.tui.format.rank_table import rank_rows
from torchdeck.tui.format.tables import fact_rows
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.summaries.run_columns import Look, fitting
from torchdeck.tui.summaries.run_comparison import Entry, table

MakeApp = Callable[..., Torchdeck]
CPUS = ({"host": "box", "device": "cpu", "name": "A processor"},) * 2
NOW = 1_800_000_000.0


def sample(rank: int, **changes: float) -> DeviceSampled:
    given = {"memory_used": 10, "memory_total": 40, "memory_process": 5, "utilization": 0.5, **changes}
    return DeviceSampled(step=1, rank=rank, **given)  # type: ignore[arg-type]


def events_of(logs: Path, ranks: tuple[dict[str, str], ...]) -> list[RunEvent]:
    return list(EventReader(logs / make_run_on(logs, NOW, ranks)).read())


def started(logs: Path, ranks: tuple[dict[str, str], ...]) -> RunStarted:
    (found,) = (event for event in events_of(logs, ranks) if isinstance(event, RunStarted))
    return found


def feed_of(events: list[RunEvent]) -> Feed:
    feed = Feed(lambda: iter(events), lambda *_: None, own=False)
    feed.iterate()
    return feed


def test_the_memory_and_power_of_gpus_add_up_their_use_is_the_mean_and_the_hottest_counts(tmp_path: Path) -> None:
    samples = {
        0: sample(0, power=200.0, temperature=60.0),
        1: sample(1, utilization=0.9, power=300.0, temperature=71.0),
    }
    whole = combine_samples(samples, rank_devices(started(tmp_path, gpus(2))))
    assert whole is not None
    assert (whole.memory_used, whole.memory_total, whole.memory_process) == (20, 80, 10)
    assert (whole.utilization, whole.power, whole.temperature) == (0.7, 500.0, 71.0)


def test_processes_of_one_computer_use_it_together_and_share_its_memory(tmp_path: Path) -> None:
    whole = combine_samples({0: sample(0), 1: sample(1, utilization=0.4)}, rank_devices(started(tmp_path, CPUS)))
    assert whole is not None
    assert (whole.memory_used, whole.memory_total, whole.memory_process) == (10, 40, 10)
    assert whole.utilization == pytest.approx(0.9)


def test_a_device_that_does_not_tell_its_power_leaves_a_dash_and_the_others_their_sum(tmp_path: Path) -> None:
    run = started(tmp_path, gpus(2))
    whole = combine_samples({0: sample(0), 1: sample(1, power=300.0)}, rank_devices(run))
    assert whole is not None
    assert whole.power == 300.0
    assert combine_samples({}, rank_devices(run)) is None
    assert combine_samples({0: sample(0), 5: sample(5)}, rank_devices(run)) is not None
    assert rank_rows(rank_devices(run), {})[1].use == "-"


def test_a_run_is_called_by_all_its_devices_and_by_how_many_hosts_they_are_on(tmp_path: Path) -> None:
    made = ((), gpus(2, ("a", "b")), CPUS, (*gpus(1), *CPUS))
    one, four, two, unlike = (started(tmp_path / str(number), ranks) for number, ranks in enumerate(made))
    assert (device_text(one), name_text(one)) == ("cuda:0", DEVICE)
    assert (device_text(four), name_text(four)) == ("4 x cuda", f"4 x {DEVICE} on 2 hosts")
    assert device_text(two) == "2 x cpu"
    assert device_text(unlike) == "1 x cuda, 2 x cpu"


def test_what_a_device_was_before_is_kept_for_each_rank(tmp_path: Path) -> None:
    events = events_of(tmp_path, gpus(2))
    feed = feed_of(events)
    feed.drain()
    assert [len(feed.samples[rank]) for rank in (0, 1)] == [5, 5]
    assert {sample.rank for sample in feed.samples[1]} == {1}


def test_a_run_that_goes_on_with_fewer_devices_forgets_the_others_and_another_log_all(tmp_path: Path) -> None:
    events, again = events_of(tmp_path / "a", gpus(2)), started(tmp_path / "b", ())
    ended = max(event.seq for event in events)
    feed = feed_of(
        [
            *events,
            RunStarted(**{**{name: getattr(again, name) for name in again.__dataclass_fields__}, "seq": ended + 1}),
        ]
    )
    feed.drain()
    assert list(feed.samples) == [0]
    replaced = feed_of([*events, LogReplaced()])
    replaced.drain()
    assert not replaced.samples


async def test_the_live_page_shows_each_rank_and_the_top_line_their_sum(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(page="live")
    app.workspace.feed = feed_of(events_of(tmp_path / "logs", gpus(2)))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "all" in screen_text(app))
        shown = screen_text(app)
        assert "2 x cuda 86% 12.2 GiB of 160.0 GiB" in shown.splitlines()[0]
        assert "cuda:1 86%  6.2 GiB" in shown
        app.workspace.feed = feed_of(events_of(tmp_path / "other" / "logs", ()))
        await until(pilot, lambda: "use " in screen_text(app) and "cuda:1" not in screen_text(app))


async def test_hosts_and_devices_with_hostile_names_are_only_text(make_app: MakeApp, tmp_path: Path) -> None:
    evil = "[red]x[/] \x1b]0;y\x07\x9b31m\u202e"
    ranks = tuple({"host": f"{evil}{n}", "device": evil, "name": evil} for n in range(2))
    app = make_app(page="live")
    app.workspace.feed = feed_of(events_of(tmp_path / "logs", ranks))
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: "[red]x[/]" in screen_text(app) and "all" in screen_text(app))
        assert not any(sign in screen_text(app) for sign in "\x1b\x07\x9b\u202e")


def test_the_lines_of_a_run_and_its_facts_tell_its_devices(tmp_path: Path) -> None:
    run = started(tmp_path, gpus(2))
    record = load_record(tmp_path / run.run_id)
    assert any(f"2 x {DEVICE}" in line for line in lines_of(run, record))
    facts = dict(fact_rows(record))
    assert facts["device"].startswith(f"2 x {DEVICE}")
    assert facts["images/s"] == "716, 358 a device"


def test_the_progress_of_a_run_tells_the_memory_it_takes_on_all_devices(tmp_path: Path) -> None:
    written = io.StringIO()
    progress = RichProgress(Console(file=written, force_terminal=True, width=200), clock=iter(range(10_000)).__next__)
    for event in events_of(tmp_path, gpus(4)):
        progress.show(event)
    assert isinstance(event, StepCompleted)
    assert "2.0 GiB" in written.getvalue()
    progress.close()


def test_the_number_of_devices_is_a_column_and_a_term_of_the_filter_where_runs_have_several(tmp_path: Path) -> None:
    make_example_runs(tmp_path, NOW)
    rows = list_runs(tmp_path)
    assert "devices" not in {column.key for column, _ in fitting(196, rows)}
    make_run_on(tmp_path, NOW, gpus(4))
    rows = list_runs(tmp_path)
    (column,) = (column for column, _ in fitting(196, rows) if column.key == "devices")
    assert sorted(column.sort_key(row) for row in rows) == [1, 1, 1, 4]  # type: ignore[type-var]
    assert len([row for row in rows if parse_filter("devices>1")(row)]) == 1


def test_runs_on_different_numbers_of_devices_are_compared_by_the_speed_of_each_device(tmp_path: Path) -> None:
    make_example_runs(tmp_path, NOW)
    make_run_on(tmp_path, NOW, gpus(4))
    entries = [Entry(place, row, load_record(row.folder)) for place, row in enumerate(list_runs(tmp_path))]
    look = Look({}, ascii_only=False, now=NOW, marked=frozenset())
    columns = {column.title: tuple(cell.plain for cell in column.cells) for column in table(entries, None, look)}
    assert (columns["devices"], columns["img/s"][1], columns["img/s each"][1]) == (("1", "1", "4", "1"), "716", "716")
    assert columns["img/s each"][2] == "179"
    assert "devices" not in {column.title for column in table(entries[:2], None, look)}


async def test_the_details_of_a_run_count_its_devices(make_app: MakeApp, tmp_path: Path) -> None:
    make_run_on(tmp_path / "logs", NOW, gpus(4))
    app = make_app(page="runs")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: f"4 x {DEVICE}" in screen_text(app))
        assert "179 each" in screen_text(app)
