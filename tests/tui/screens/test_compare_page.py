"""Bands as arrays, and the page that compares the marked runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import Input

import torchdeck.tui.app.app
from torchdeck.core.results.bands import band
from torchdeck.core.results.curves import Curve, curve, seconds_to
from torchdeck.core.runs.index import RunIndex, list_runs
from torchdeck.core.runs.reader import load_record
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.compare.diff_table import DiffTable
from torchdeck.tui.compare.page import ComparePage
from torchdeck.tui.format.columns import TextColumn, fitted
from torchdeck.tui.state.messages import CopyRequested
from torchdeck.tui.state.preferences import Preferences
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.state.workspace import Workspace
from torchdeck.tui.widgets.chart import Chart

Train = Callable[..., Any]
Made = Callable[..., Any]


def of(x: list[float], y: list[float]) -> Curve:
    return Curve(np.array(x, float), np.array(y, float))


def test_curves_of_the_same_steps_make_a_band_of_their_own_values() -> None:
    made = band([of([1, 2, 3], [1, 5, 2]), of([1, 2, 3], [3, 1, 2]), of([1, 2, 3], [2, 3, 8])])
    assert made.x.tolist() == [1, 2, 3]
    assert (made.low.tolist(), made.high.tolist(), made.mean.tolist()) == ([1, 1, 2], [3, 5, 8], [2, 3, 4])


def test_a_band_is_cut_to_the_shortest_curve() -> None:
    made = band([of([1, 2, 3, 4], [1, 1, 1, 9]), of([2, 3], [3, 5])])
    assert made.x.tolist() == [2, 3]
    assert (made.low.tolist(), made.high.tolist()) == ([1, 1], [3, 5])


def test_between_its_points_a_curve_is_read_on_a_straight_line() -> None:
    made = band([of([0, 2, 4], [0, 2, 4]), of([0, 1, 4], [4, 1, 1])])
    assert made.x.tolist() == [0, 1, 2, 4]
    assert (made.low.tolist(), made.high.tolist()) == ([0, 1, 1, 1], [4, 1, 2, 4])


def test_what_is_not_finite_takes_no_part_in_a_band() -> None:
    nan, inf = float("nan"), float("inf")
    made = band([of([1, 2, 3], [1, nan, 3]), of([1, 2, 3], [2, 2, inf]), of([1], [nan]), of([], [])])
    assert (made.x.tolist(), made.low.tolist(), made.high.tolist()) == ([1, 2], [1, 2], [2, 2])
    assert len(band([])) == len(band([of([1], [1]), of([2], [2])])) == 0


def test_columns_of_low_rank_get_room_first_and_the_rest_widens_those_that_grow() -> None:
    columns = [
        TextColumn("name", "name", (Text("a very long name"),), 1, most=8, grows=True),
        TextColumn("loss", "loss", (Text("0.12345"),), 0),
        TextColumn("lr", "lr", (Text("0.1"),), 2),
    ]
    assert [(column.key, width) for column, width in fitted(columns, 16)] == [("loss", 7), ("lr", 3)]
    assert [(column.key, width) for column, width in fitted(columns, 21)] == [("name", 10), ("loss", 7)]
    assert [(column.key, width) for column, width in fitted(columns, 60)] == [("name", 16), ("loss", 7), ("lr", 3)]


def texts(column: TextColumn) -> list[str]:
    return [cell.plain for cell in column.cells]


class Driven(Torchdeck):
    """The app, which notes what is to be copied."""

    CSS_PATH = Path(torchdeck.tui.app.app.__file__).with_name("app.tcss")
    copied = ""

    def on_copy_requested(self, message: CopyRequested) -> None:
        self.copied = message.text
        message.prevent_default()


@pytest.fixture
def app(tmp_path: Path) -> Driven:
    logs = tmp_path / "logs"
    return Driven(
        Workspace(logs, tmp_path / "data", Preferences(), lambda: 100.0, RunIndex(logs)), refresh=RefreshRates(60, 0.05)
    )


@pytest.fixture
def three(app: Driven, small: Made, train: Train) -> list[str]:
    """Three runs that differ in learning rate and seed, all marked."""
    for lr, seed in ((0.05, 1), (0.1, 1), (0.02, 2)):
        train(small({"optimizer.lr": lr, "training.seed": seed}), preset="lenet")
    ids = [row.id for row in list_runs(app.workspace.logs)]
    app.workspace.marked[:] = ids
    return ids


async def opened(pilot: Pilot[None]) -> ComparePage:
    await pilot.pause()
    pilot.app.switch_mode("compare")
    await pilot.pause()
    await pilot.pause()
    assert isinstance(pilot.app.screen, ComparePage)
    return pilot.app.screen


def picture(app: Torchdeck) -> str:
    return "\n".join("".join(part.text for part in strip) for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize(("marks", "told"), [([], "No run is marked"), (["gone"], "No run is marked")])
async def test_with_too_few_runs_the_page_says_how_to_mark(app: Driven, marks: list[str], told: str) -> None:
    app.workspace.marked[:] = marks
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert told in picture(app)
        await pilot.press("m", "b", "e", "k", "delete", "A")
        assert app.copied == ""


async def test_runs_have_letters_and_inks_and_can_be_hidden(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        seen = [(line.label, line.letter, line.ink) for line in page.lines]
        assert seen == [
            (run_id[-4:], letter, ink) for ink, (run_id, letter) in enumerate(zip(three, "abc", strict=True))
        ]
        await pilot.press("B")
        assert [line.letter for line in page.lines] == ["a", "c"]
        await pilot.press("B")
        assert [line.letter for line in page.lines] == ["a", "b", "c"]
        await pilot.press("H")
        page.query_one(DiffTable).focus()
        await pilot.press("down", "down", "space")
        await pilot.pause()
        assert [line.letter for line in page.lines] == ["a", "b"]


async def test_metric_and_axis_go_round(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        chart, record = page.query_one(Chart), load_record(app.workspace.logs / three[0])
        seen: list[str] = []
        for _ in range(4):
            seen.append(chart.title)
            await pilot.press("m")
        assert seen == ["Test accuracy", "Test loss", "Train loss", "Train accuracy"]
        assert chart.title == "Test accuracy"
        assert chart.percent
        for axis in ("epoch", "time"):
            await pilot.press("e")
            assert page.lines[0].xs.tolist() == curve(record, "test/accuracy", axis).x.tolist()


async def test_a_band_holds_least_mean_and_greatest_of_every_step(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        await pilot.press("m", "m", "b")
        (line,) = page.lines
        losses = np.stack([curve(load_record(app.workspace.logs / run_id), "train/loss").y for run_id in three])
        assert line.low is not None
        assert line.high is not None
        assert line.low.tolist() == losses.min(axis=0).tolist()
        assert line.high.tolist() == losses.max(axis=0).tolist()
        assert line.ys.tolist() == losses.mean(axis=0).tolist()
        assert line.label == "lenet x3"
        await pilot.press("A")
        assert page.lines[0].label == "lenet x2"


async def test_only_settings_that_differ_are_shown(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        *figures, lr, seed = page.columns
        assert texts(lr) == ["0.05", "0.1", "0.02"]
        assert texts(seed) == ["1", "1", "2"]
        assert figures[-1].title.startswith("to ")
        assert "only settings that differ" in picture(app)
        assert all(run_id[-4:] in picture(app) for run_id in three)


async def test_the_best_of_each_figure_is_marked(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        best = [row.figure("test/loss") for row in list_runs(app.workspace.logs)]
        (loss,) = [column for column in page.columns if column.title == "loss"]
        bold = {place for place, cell in enumerate(loss.cells) if cell.style}
        assert bold == {min(range(3), key=lambda place: best[place] or 0.0)}
        assert len(three) == 3


async def test_the_time_to_an_accuracy_is_asked_for(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        records = [load_record(app.workspace.logs / run_id) for run_id in three]
        lowest = min(max(epoch.metrics["test/accuracy"] for epoch in record.epochs) for record in records)
        assert f"to {int(100 * lowest + 1e-9)} %" in [column.title for column in page.columns]
        for said, title in (("10", "to 10 %"), ("much", "to 10 %"), ("101", "to 10 %"), ("99.5%", "to 99.5 %")):
            await pilot.press("t")
            await pilot.pause()
            app.screen.query_one(Input).value = said
            await pilot.press("enter")
            await pilot.pause()
            assert title in [column.title for column in page.columns]
        (column,) = [column for column in page.columns if column.title == "to 99.5 %"]
        assert [text == "-" for text in texts(column)] == [seconds_to(record, 0.995) is None for record in records]


async def test_the_table_is_copied_as_tab_separated_text(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        page = await opened(pilot)
        await pilot.press("k")
        await pilot.pause()
        lines = [line.split("\t") for line in app.copied.splitlines()]
        assert lines[0] == [column.title for column in page.columns]
        assert [line[:2] for line in lines[1:]] == [
            [letter, run_id[-4:]] for letter, run_id in zip("abc", three, strict=True)
        ]
        assert {len(line) for line in lines} == {len(lines[0])}


async def test_a_run_is_taken_out_of_the_comparison(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        page.query_one(DiffTable).focus()
        await pilot.press("down", "delete")
        await pilot.pause()
        assert app.workspace.marked == [three[0], three[2]]
        assert [line.letter for line in page.lines] == ["a", "b"]
        await pilot.press("delete")
        await pilot.pause()
        assert "1 run is marked" in picture(app)


async def test_a_marked_run_that_trains_on_is_drawn_anew(app: Driven, three: list[str]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        record = app.workspace.record(three[0])
        before = len(page.lines[0].xs)
        record.epochs.append(record.epochs[-1])
        page.tick()
        assert len(page.lines[0].xs) == before + 1
