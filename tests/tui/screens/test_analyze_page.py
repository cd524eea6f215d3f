"""Analyze as a person drives it, on runs that were really trained."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from pictures import write_classes
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Static

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.data import open_dataset
from torchdeck.core.events import EpochCompleted, RunEvent
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.reader import load_record
from torchdeck.tui.analyze.class_table import ClassTable
from torchdeck.tui.analyze.filter_grid import FilterGrid
from torchdeck.tui.analyze.heat_map import HeatMap
from torchdeck.tui.analyze.mistakes import Mistakes
from torchdeck.tui.analyze.page import AnalyzePage
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.charts.half_blocks import worst_pairs
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.state.preferences import Preferences
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.state.workspace import Workspace
from torchdeck.tui.widgets.key_bar import KeyBar

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]
NOISY = {"data.name": "synthetic", "data.size": 16, "data.train_images": 96, "data.test_images": 60, "data.noise": 0.95}


@pytest.fixture(autouse=True)
def _no_tmux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test never touches the clipboard of whoever runs it."""
    monkeypatch.delenv("TMUX", raising=False)


def write_folder(root: Path, names: tuple[str, ...] = ("cat", "dog"), images: int = 8) -> None:
    """An image folder of small noisy pictures."""
    random = np.random.default_rng(3)
    for split in ("train", "test"):
        for name in names:
            folder = root / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(images):
                Image.fromarray(random.integers(0, 255, (20, 20, 3), np.uint8)).save(folder / f"{index}.png")


class Driven:
    """The page with the keys in hand."""

    def __init__(self, app: Torchdeck, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def page(self) -> AnalyzePage:
        assert isinstance(self.app.screen, AnalyzePage)
        return self.app.screen

    @property
    def mistakes(self) -> Mistakes:
        return self.page.query_one(Mistakes)

    @property
    def heat_map(self) -> HeatMap:
        return self.page.query_one(HeatMap)

    @property
    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    @property
    def instead(self) -> str:
        return str(self.page.query_one("#no-matrix", Static).content)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(400):
            if holds():
                return
            await self.pilot.pause(0.02)
        raise AssertionError(self.text)

    async def images(self) -> None:
        """Wait until the images are read."""
        await self.until(lambda: not self.mistakes.note.startswith("reading") and bool(self.mistakes.border_title))


@asynccontextmanager
async def driven(
    tmp_path: Path, size: tuple[int, int] = (120, 40), chosen: str | None = None, data: Path | None = None, **how: Any
) -> AsyncIterator[Driven]:
    logs = tmp_path / "logs"
    workspace = Workspace(logs, data or tmp_path / "data", Preferences(), time.time, RunIndex(logs), chosen=chosen)
    app = Torchdeck(workspace, refresh=RefreshRates(0.02, 0.05), **how)
    async with app.run_test(size=size) as pilot:
        await app.switch_mode("analyze")
        await pilot.pause()
        yield Driven(app, pilot)


def matrix(folder: Path) -> list[list[int]]:
    seen = load_record(folder).best_confusion
    assert seen is not None
    return [list(row) for row in seen.confusion]


async def test_the_sentence_follows_the_cursor(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    train(small(NOISY))
    confusion = matrix(the_run())
    true, guess, images = worst_pairs(confusion, 1)[0]
    async with driven(tmp_path, (160, 50)) as at:
        assert at.heat_map.cursor == (true, guess)
        share = f"({100 * images / sum(confusion[true]):.1f} %)"
        assert f"pattern {true} predicted as pattern {guess}: {images} of {sum(confusion[true])}" in at.text
        assert share in at.text
        await at.press(*["up"] * 9, *["left"] * 9)
        assert f"pattern 0 predicted correctly: {confusion[0][0]} of {sum(confusion[0])}" in at.text
        await at.press("n")
        assert at.heat_map.cursor == (true, guess)
        await at.press("n")
        assert at.heat_map.cursor == worst_pairs(confusion, 2)[1][:2]


async def test_the_images_are_those_that_the_network_got_wrong_in_that_cell(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    config = small(NOISY)
    train(config)
    kept = safetensors.numpy.load_file(the_run() / "predictions.safetensors")
    split = open_dataset(config.data, tmp_path / "data").read("test")
    async with driven(tmp_path) as at:
        await at.press("enter")
        await at.images()
        for _ in range(3):
            true, guess = at.heat_map.cursor
            wrong = np.flatnonzero((kept["labels"] == true) & (kept["classes"][:, 0] == guess))
            assert sorted(at.mistakes.indices) == wrong.tolist() != []
            for index, image in zip(at.mistakes.indices, at.mistakes._images, strict=True):
                assert np.array_equal(image, split.images[index])
            await at.press("n")


async def test_under_an_image_stand_the_three_likeliest_classes(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    train(small(NOISY))
    kept = safetensors.numpy.load_file(the_run() / "predictions.safetensors")
    async with driven(tmp_path, (80, 24)) as at:
        await at.press("enter")
        await at.images()
        await at.pilot.pause()
        first = at.mistakes.indices[0]
        for guess, probability in zip(kept["classes"][first], kept["probabilities"][first], strict=True):
            assert f"pattern {guess} {100 * float(probability):.0f} %" in at.text


async def test_brackets_go_through_the_runs_that_have_a_matrix(small: Made, train: Train, tmp_path: Path) -> None:
    stopped = Control()
    stopped.request("stop", "at once")
    train(small({**NOISY, "training.epochs": 1}), preset="first")
    train(small(NOISY), stopped, preset="second")
    train(small({**NOISY, "training.epochs": 2}), preset="third")
    ids = {path.name.split("-")[2]: path.name for path in (tmp_path / "logs").iterdir()}
    async with driven(tmp_path) as at:
        assert ids["third"] in at.text
        await at.press("left_square_bracket")
        assert at.app.workspace.chosen == ids["first"]
        assert ids["first"] in at.text
        await at.press("left_square_bracket")
        assert at.app.workspace.chosen == ids["first"]
        await at.press("right_square_bracket")
        assert at.app.workspace.chosen == ids["third"]


async def test_a_run_without_an_evaluation_says_so_and_leads_to_others(
    small: Made, train: Train, tmp_path: Path
) -> None:
    stopped = Control()
    stopped.request("stop", "[bold]early[/] \x1b[31m")
    train(small(), preset="first")
    train(small(), stopped, preset="second")
    second = next(path.name for path in (tmp_path / "logs").iterdir() if "second" in path.name)
    async with driven(tmp_path, chosen=second) as at:
        assert "before its first evaluation" in at.text
        assert "\x1b" not in at.text
        assert "[bold]early[/]" in at.text
        assert at.page.focused is None
        await at.press("v", "N", "k", "n", "p", "enter", "escape")
        await at.press("left_square_bracket")
        await at.until(lambda: at.page.focused is at.heat_map)


async def test_no_run_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    async with driven(tmp_path) as at:
        assert "Setup (1)" in at.text
        await at.press("left_square_bracket", "right_square_bracket", "v", "k")
        assert "Setup (1)" in at.text


async def test_missing_images_say_what_to_do(small: Made, train: Train, tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    train(small({"data.name": "image-folder", "data.size": 16, "training.batch_size": 4}))
    async with driven(tmp_path, data=tmp_path / "elsewhere") as at:
        await at.press("v")
        await at.until(lambda: "are not in" in at.mistakes.note)
        assert "torchdeck data fetch image-folder" in at.mistakes.note
        assert "the images of image-folder" in at.text
    assert not (tmp_path / "elsewhere").exists()


async def test_another_data_set_of_the_same_name_is_found_out(small: Made, train: Train, tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    write_folder(tmp_path / "elsewhere", images=9)
    train(small({"data.name": "image-folder", "data.size": 16, "training.batch_size": 4}))
    async with driven(tmp_path, data=tmp_path / "elsewhere") as at:
        await at.until(lambda: "not the data set of this run" in at.mistakes.note)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 400])
async def test_damaged_predictions_cost_only_the_images(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path, content: bytes | None
) -> None:
    train(small(NOISY))
    path = the_run() / "predictions.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    async with driven(tmp_path) as at:
        assert ("is missing" if content is None else "damaged") in at.mistakes.note
        assert "predicted as" in at.text
        assert at.page.query_one(FilterGrid).shown == 6


async def test_a_run_without_filters_says_so(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    train(small(NOISY))
    (the_run() / "filters.safetensors").unlink()
    async with driven(tmp_path) as at:
        await at.press("N")
        assert "no convolution" in at.page.query_one(FilterGrid).note
        assert "no filters: this network has no convolution" in at.text


async def test_filters_are_scaled_each_or_alike(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(NOISY))
    async with driven(tmp_path) as at:
        assert "First-layer filters  6 x 5x5, own scale" in at.text
        await at.press("N")
        assert "First-layer filters  6 x 5x5, shared scale" in at.text


@pytest.mark.parametrize("size", [(80, 24), (120, 24), (120, 40), (200, 60), (40, 10)])
@pytest.mark.parametrize("classes", [2, 60])
async def test_every_size_shows_two_classes_and_many(
    small: Made, train: Train, tmp_path: Path, size: tuple[int, int], classes: int
) -> None:
    train(small({**NOISY, "data.classes": classes, "data.test_images": 120, "training.epochs": 1}))
    async with driven(tmp_path, size) as at:
        await at.images()
        for _ in range(4):
            assert "predicted as" in at.text or "pattern" in at.text or "filters" in at.text
            await at.press("v", "n")
        await at.press("escape")
        await at.until(lambda: at.page.focused is at.heat_map)


async def test_views_go_round_where_not_all_fits(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(NOISY))
    async with driven(tmp_path, (80, 24)) as at:
        await at.images()
        titles = ("─ Confusion", "─ Per class", "─ First-layer filters", "─ Images")
        for title in (*titles, titles[0]):
            await at.until(lambda title=title: title in at.text)
            assert [other for other in titles if other in at.text] == [title]
            await at.press("v")
        await at.press("escape")
        await at.until(lambda: at.page.focused is at.heat_map)


async def test_a_larger_terminal_leaves_no_view_behind(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(NOISY))
    async with driven(tmp_path, (80, 24)) as at:
        await at.press("v")
        await at.pilot.resize_terminal(200, 60)
        for title in ("Confusion", "Per class", "First-layer filters", "Images", "most frequent mistakes"):
            await at.until(lambda title=title: title in at.text)
        await at.until(lambda: at.page.focused is at.heat_map)


async def test_hostile_names_reach_no_cell_as_markup_or_control(small: Made, train: Train, tmp_path: Path) -> None:
    names = ("[@click=app.quit]cat[b]", "dog\x1b[31m\t[bold red]")
    write_folder(tmp_path / "data", names, 12)
    train(
        small({"data.name": "image-folder", "data.size": 16, "training.batch_size": 4, "training.epochs": 1}),
        name="[red]\x1b]0;x\x07[b]",
    )
    async with driven(tmp_path, (200, 60)) as at:
        await at.images()
        await at.pilot.pause()
        for strip in at.app.screen._compositor.render_strips():
            for segment in strip:
                assert not set(segment.text) & set("\x1b\x07\t")
                assert segment.style is None or "app.quit" not in str(segment.style.meta)
        assert "[red]]0;x[b]" in at.text
        assert "[@click=app.quit]cat[b]" in at.text
        assert "dog[31m [bold red]" in at.text
        await at.press("k")
        assert "\x1b" not in at.app.clipboard
        assert at.app.clipboard.splitlines()[1].count("\t") == 4


async def test_the_copy_is_a_table_of_classes_and_the_matrix(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    train(small({**NOISY, "data.classes": 3}))
    confusion = matrix(the_run())
    async with driven(tmp_path) as at:
        await at.press("k")
        rows = [line.split("\t") for line in at.app.clipboard.splitlines()]
        assert rows[0] == ["class", "precision", "recall", "F1", "images"]
        recalls = [confusion[index][index] / sum(confusion[index]) for index in range(3)]
        assert [float(row[2]) for row in rows[1:4]] == pytest.approx(recalls, abs=1e-6)
        assert rows[6] == ["true \\ predicted", "pattern 0", "pattern 1", "pattern 2"]
        assert [[int(cell) for cell in row[1:]] for row in rows[7:]] == confusion


async def test_an_image_has_its_path_under_it_and_the_copy_has_those_of_the_cell(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        write_classes(tmp_path / "photos" / split, {"ants": 6, "bees": 6})
    path = str(tmp_path / "photos")
    train(small({"data.name": "image-folder", "data.path": path, "data.size": 16, "training.batch_size": 6}))
    confusion = matrix(the_run())
    true, guess = max(
        ((row, column) for row in (0, 1) for column in (0, 1)), key=lambda cell: confusion[cell[0]][cell[1]]
    )
    async with driven(tmp_path, (160, 50)) as at:
        await at.press("up", "left", *["down"] * true, *["right"] * guess)
        await at.images()
        await at.press("enter")
        name = ("ants", "bees")[true]
        assert re.search(rf"{name}/\d\.png", at.text)
        await at.press("k")
        head, *rows = at.app.clipboard.splitlines()
        assert head == "image\tlabel\tprediction\tprobability"
        assert len(rows) == confusion[true][guess]
        assert all(row.startswith(f"test/{name}/") for row in rows)


async def test_the_most_confidently_wrong_images_of_all_cells_are_a_list(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    train(small(NOISY))
    wrong = sum(map(sum, matrix(the_run()))) - sum(row[n] for n, row in enumerate(matrix(the_run())))
    async with driven(tmp_path, (160, 50)) as at:
        await at.images()
        await at.press("w")
        assert "most confidently wrong" in str(at.mistakes.border_title)
        assert len(at.mistakes.indices) == wrong
        assert "not pattern" in at.text
        await at.press("escape", "n")
        assert "predicted as" in str(at.mistakes.border_title)


async def test_the_page_follows_the_training_in_hand(small: Made, train: Train, tmp_path: Path) -> None:
    events = train(small({"training.epochs": 4}))
    bests = [place for place, event in enumerate(events) if isinstance(event, EpochCompleted) and event.best]
    assert len(bests) > 1
    parts = [events[: bests[-1]], events[bests[-1] :]]
    shown = [events[place].epoch for place in bests[-2:] if isinstance(events[place], EpochCompleted)]
    async with driven(tmp_path, (200, 60)) as at:
        feed = Feed(lambda: iter(parts.pop(0)), lambda *_: None, own=True)
        at.app.workspace.feed = feed
        feed.iterate()
        await at.until(lambda: f"epoch {shown[0]} (running)" in at.text)
        assert f"these are epoch {shown[1]}'s" in str(at.mistakes.border_title)
        feed.iterate()
        await at.until(lambda: f"epoch {shown[1]} " in at.text and "(running)" not in at.text)
        assert "these are epoch" not in str(at.mistakes.border_title)


async def test_two_runs_on_the_same_images_read_them_once(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(NOISY), preset="first")
    train(small({**NOISY, "optimizer.lr": 0.1}), preset="second")
    async with driven(tmp_path) as at:
        await at.images()
        held = at.mistakes._loaded
        await at.press("left_square_bracket")
        assert not at.mistakes.note.startswith("reading")
        assert at.mistakes._loaded is held


async def test_in_ascii_no_other_character_is_drawn(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(NOISY))
    async with driven(tmp_path, (200, 60), ascii_only=True) as at:
        await at.images()
        await at.pilot.pause()
        body = [strip.text for strip in at.app.screen._compositor.render_strips()][1:-1]
        assert "".join(body).isascii()


async def test_the_class_table_marks_the_true_class(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(NOISY))
    async with driven(tmp_path) as at:
        assert at.page.query_one(ClassTable)._chosen == at.heat_map.cursor[0]
        await at.press("up", "up")
        assert at.page.query_one(ClassTable)._chosen == at.heat_map.cursor[0]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_footer_holds_at_most_eight_keys(
    small: Made, train: Train, tmp_path: Path, size: tuple[int, int]
) -> None:
    train(small(NOISY))
    async with driven(tmp_path, size) as at:
        for keys in ([], ["v"], ["v"], ["v"], ["escape"], ["enter"], ["tab"], ["tab"]):
            await at.press(*keys)
            assert 4 <= len(at.page.query_one(KeyBar).keys) <= 8
            assert all(active.binding.description for active in at.page.active_bindings.values())
