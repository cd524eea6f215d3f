from collections.abc import Sequence

import numpy as np
import pytest
from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.widget import Widget

from torchdeck.tui.analyze.class_table import ClassTable
from torchdeck.tui.analyze.heat_map import HeatMap, plan_for
from torchdeck.tui.analyze.image_grid import ImageGrid

ANIMALS = ("cat", "deer", "dog")
SIZES = [(0, 0), (1, 1), (4, 2), (9, 3), (33, 12)]
CONFUSION = [[86, 4, 10], [0, 0, 0], [76, 24, 900]]


class Stage(App[None]):
    """A screen with one widget on it, and the places its cursor came to."""

    CSS = "Stage > Screen > * { border: none; padding: 0; width: 1fr; height: 1fr; }"

    def __init__(self, widget: Widget, theme: str = "textual-dark", ascii_only: bool = False) -> None:
        super().__init__()
        self.widget = widget
        self.theme = theme
        self.set_class(ascii_only, "-ascii")
        self.moves: list[tuple[int, int]] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {
            "heat-hit": "#2a6fb0",
            "heat-miss": "#d87a20",
            "chart-label": "#7d8792",
            "chart-axis": "#59636e",
        }

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_heat_map_moved(self, event: HeatMap.Moved) -> None:
        self.moves.append((event.true_index, event.predicted_index))


class FramedStage(Stage):
    """A screen whose widget keeps its border."""

    CSS = ""


def drawn(widget: Widget) -> list[str]:
    return [widget.render_line(y).text.rstrip() for y in range(widget.size.height)]


def whole_screen(app: App[None]) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def style_at(widget: Widget, x: int, y: int) -> Style:
    return next(iter(widget.render_line(y).crop(x, x + 1))).style or Style.null()


def matrix(classes: int) -> list[list[int]]:
    generator = np.random.default_rng(classes)
    return (generator.integers(0, 4, (classes, classes)) + 50 * np.eye(classes, dtype=int)).tolist()


def names(classes: int) -> list[str]:
    return [f"class {index}" for index in range(classes)]


# The heat map


async def test_a_matrix_in_little_space_is_numbers_with_labels() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(20, 5)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert drawn(heat_map) == [
            "      cat deer  dog",
            " cat  86    4   10",
            "deer   ·    ·    ·",
            " dog  [8]   2   90",
            "",
        ]


async def test_a_matrix_in_more_space_has_larger_cells() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(32, 10)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert drawn(heat_map) == [
            "        cat     deer      dog",
            "",
            " cat    86        4       10",
            "",
            "",
            "deer     ·        ·        ·",
            "",
            "     ┌       ┐",
            " dog    [8]       2       90",
            "     └       ┘",
        ]


async def test_long_names_take_two_header_lines_where_one_is_free() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(24, 5)) as pilot:
        heat_map.show(CONFUSION, ("airplane", "cat", "automobile"))
        await pilot.pause()
        assert drawn(heat_map) == [
            "         airpla… autom…",
            "               cat",
            "  airplane  86   4  10",
            "       cat   ·   ·   ·",
            "automobile  [8]  2  90",
        ]


async def test_the_cursor_starts_at_the_worst_pair_and_says_so() -> None:
    heat_map = HeatMap()
    stage = Stage(heat_map)
    async with stage.run_test() as pilot:
        assert (heat_map.sentence(), heat_map.cursor) == ("", (0, 0))
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert heat_map.sentence() == "dog predicted as cat: 76 of 1000 (7.6 %)"
        assert stage.moves == [(2, 0)]
        assert heat_map.border_title == "Confusion"
        assert heat_map.border_subtitle == "accuracy 89.64 % · row = true, column = predicted"


async def test_arrows_move_the_cursor_as_far_as_there_are_cells() -> None:
    heat_map = HeatMap()
    stage = Stage(heat_map)
    async with stage.run_test() as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.press("right", "right", "right", "down")
        assert heat_map.sentence() == "dog predicted correctly: 900 of 1000 (90.0 %)"
        await pilot.press("up")
        assert heat_map.sentence() == "no images of deer"
        await pilot.press("left", "left", "left", "up")
        assert heat_map.cursor == (0, 0)
        assert stage.moves == [(2, 0), (2, 1), (2, 2), (1, 2), (1, 1), (1, 0), (0, 0)]


async def test_n_goes_from_one_mistake_to_the_next_and_round() -> None:
    heat_map = HeatMap()
    stage = Stage(heat_map)
    async with stage.run_test() as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.press("n", "n", "n", "n")
        assert stage.moves == [(2, 0), (2, 1), (0, 2), (0, 1), (2, 0)]
        await pilot.press("up", "n")
        assert heat_map.cursor == (2, 0)


async def test_p_prints_counts_and_percent_again() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(20, 5)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.press("p")
        assert drawn(heat_map)[1:4] == [" cat  86    4   10", "deer   ·    ·    ·", " dog [76]  24   900"]
        await pilot.press("p")
        assert drawn(heat_map)[3] == " dog  [8]   2   90"


async def test_a_click_moves_the_cursor_to_its_cell_only() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(32, 10)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.click(HeatMap, offset=(31, 1))
        assert heat_map.cursor == (0, 2)
        await pilot.click(HeatMap, offset=(2, 5))
        await pilot.click(HeatMap, offset=(9, 0))
        assert heat_map.cursor == (0, 2)


async def test_another_matrix_of_the_same_classes_keeps_the_cursor() -> None:
    heat_map = HeatMap()
    stage = Stage(heat_map)
    async with stage.run_test() as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.press("right")
        heat_map.show([[1, 1, 0], [0, 1, 0], [0, 0, 1]], ANIMALS)
        await pilot.pause()
        assert heat_map.cursor == (2, 1)
        heat_map.show([[1, 5], [0, 1]], ("yes", "no"))
        await pilot.pause()
        assert stage.moves[-2:] == [(2, 1), (0, 1)]


async def test_of_many_classes_the_most_confused_are_shown_and_others_come_with_the_cursor() -> None:
    confusion = (100 * np.eye(200, dtype=int)).tolist()
    for row in range(50):
        confusion[150 - row][row] = 60 - row
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(60, 13)) as pilot:
        heat_map.show(confusion, names(200))
        await pilot.pause()
        assert "12 of 200 classes: the most confused" in str(heat_map.border_subtitle)
        lines = drawn(heat_map)
        assert lines[1].lstrip().startswith("class 0")
        assert lines[2].lstrip().startswith("class 150")
        await pilot.press(*["down"] * 20)
        assert heat_map.sentence().startswith("class 140 ")
        assert drawn(heat_map)[12].lstrip().startswith("class 140")


@pytest.mark.parametrize("classes", [0, 1, 2, 10, 200])
@pytest.mark.parametrize("kind", [HeatMap, ClassTable])
async def test_no_number_of_classes_and_no_size_breaks_a_widget(kind: type[HeatMap | ClassTable], classes: int) -> None:
    widget = kind()
    async with Stage(widget).run_test(size=(200, 60)) as pilot:
        widget.show(matrix(classes), names(classes))
        for size in SIZES:
            widget.styles.width, widget.styles.height = size
            await pilot.pause()
            if isinstance(widget, HeatMap):
                widget.action_next_worst()
                widget.action_move(1, 1)
            assert max(map(len, drawn(widget)), default=0) <= size[0]


@pytest.mark.parametrize("classes", [1, 2, 10, 20, 200])
def test_a_plan_fits_its_space_and_the_space_it_takes_gives_the_same_plan(classes: int) -> None:
    for width in range(0, 130, 3):
        for height in range(0, 50, 2):
            plan = plan_for(classes, 9, Size(width, height))
            assert plan.width <= max(1, width)
            assert plan.height <= height
            assert not plan.classes or plan_for(classes, 9, Size(plan.width, plan.height)) == plan


async def test_without_a_matrix_the_widgets_say_so() -> None:
    for widget in (HeatMap(), ClassTable()):
        async with Stage(widget).run_test(size=(30, 5)):
            assert drawn(widget)[0] == "no predictions yet"


# Looks


async def test_right_answers_errors_and_the_rest_have_their_colours() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(20, 5)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.press("up")
        hit, miss, rest = (style_at(heat_map, x, y) for x, y in ((7, 1), (17, 1), (12, 2)))
        red, _, blue = hit.bgcolor.triplet
        assert blue > 2 * red
        assert miss.bgcolor.triplet == (0xD8, 0x7A, 0x20)
        assert miss.color.triplet == (0, 0, 0)
        assert rest.color.triplet == (0x7D, 0x87, 0x92)


async def test_without_colours_the_diagonal_is_bold_and_the_cursor_reversed() -> None:
    heat_map = HeatMap()
    stage = Stage(heat_map)
    stage.no_color = True
    async with stage.run_test(size=(20, 5)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.pause()
        hit, miss, cursor = (style_at(heat_map, x, y) for x, y in ((7, 1), (17, 1), (7, 3)))
        assert (hit.bold, miss.bold, cursor.reverse) == (True, False, True)
        assert hit.bgcolor == miss.bgcolor


async def test_an_ansi_theme_gets_named_inks_only() -> None:
    for widget in (HeatMap(), ClassTable()):
        async with Stage(widget, theme="ansi-dark").run_test(size=(60, 8)) as pilot:
            widget.show(CONFUSION, ANIMALS)
            await pilot.pause()
            styles = [segment.style for y in range(8) for segment in widget.render_line(y) if segment.style]
            inks = {ink for style in styles for ink in (style.color, style.bgcolor) if ink}
            assert all(ink.triplet is None for ink in inks)
            assert "color(4)" in {ink.name for ink in inks}


async def test_ascii_mode_draws_ascii_alone() -> None:
    hostile = ("猫 é", "automobile…", "x" * 40)
    for widget in (HeatMap(), ClassTable()):
        async with FramedStage(widget, ascii_only=True).run_test(size=(70, 20)) as pilot:
            widget.show(CONFUSION, hostile)
            await pilot.pause()
            screen = whole_screen(pilot.app)
            assert screen.isascii()
            assert screen.startswith("+-")


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
async def test_hostile_class_names_are_text(theme: str) -> None:
    hostile = ("[red]", "\x1b[31mred", "[/]\n\x07[b")
    for widget in (HeatMap(), ClassTable(), ImageGrid()):
        async with Stage(widget, theme=theme).run_test(size=(70, 20)) as pilot:
            show_names(widget, hostile)
            await pilot.pause()
            screen = whole_screen(pilot.app)
            assert "[red]" in screen
            assert "[31mred" in screen
            assert all(character.isprintable() or character == "\n" for character in screen)
            assert widget.sentence().isprintable() if isinstance(widget, HeatMap) else True


def show_names(widget: Widget, foreign: Sequence[str]) -> None:
    if isinstance(widget, ImageGrid):
        widget.show([np.zeros((3, 8, 8), np.uint8)] * len(foreign), foreign)
    elif isinstance(widget, HeatMap | ClassTable):
        widget.show(CONFUSION, foreign)


# The class table


async def test_the_class_table_has_figures_bars_and_the_mean() -> None:
    table = ClassTable()
    async with Stage(table).run_test(size=(45, 5)) as pilot:
        table.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert drawn(table) == [
            "class    prec  recall      F1",
            "cat     0.531   0.860   0.656  ━━━━━━━━━─────",
            "deer    0.000       -   0.000  ──────────────",
            "dog     0.989   0.900   0.942  ━━━━━━━━━━━━━─",
            "mean    0.760   0.880   0.799  ━━━━━━━━━━━───",
        ]


async def test_a_narrow_class_table_keeps_f1_longest() -> None:
    table = ClassTable()
    async with Stage(table).run_test(size=(14, 5)) as pilot:
        table.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert drawn(table)[:2] == ["class      F1", "cat     0.656"]


async def test_the_highlighted_class_comes_into_view_between_header_and_mean() -> None:
    table = ClassTable()
    async with Stage(table).run_test(size=(40, 8)) as pilot:
        table.show(matrix(30), names(30))
        await pilot.pause()
        assert [line.split("  ")[0] for line in drawn(table)][1] == "class 0"
        table.highlight(20)
        await pilot.pause()
        assert [line.split("  ")[0] for line in drawn(table)] == [
            "class", *[f"class {index}" for index in range(15, 21)], "mean",
        ]  # fmt: skip
        assert style_at(table, 0, 6).bold
        table.highlight(0)
        table.highlight(99)
        await pilot.pause()
        assert drawn(table)[1].startswith("class 0")


# Images


def images(count: int, height: int = 4, width: int = 4, channels: int = 3) -> list[np.ndarray]:
    return [np.full((channels, height, width), index, np.uint8) for index in range(count)]


async def test_an_image_is_drawn_in_half_blocks_over_its_caption() -> None:
    image = np.zeros((3, 4, 4), np.uint8)
    image[0, 0] = 200
    grid = ImageGrid()
    async with Stage(grid).run_test(size=(12, 4)) as pilot:
        grid.show([image], ["dog predicted as cat\ncat 62.0 %"])
        await pilot.pause()
        assert drawn(grid) == ["▀▀▀▀", "▀▀▀▀", "dog predict…", "cat 62.0 %"]
        assert (style_at(grid, 0, 0).color.triplet, style_at(grid, 0, 0).bgcolor.triplet) == ((200, 0, 0), (0, 0, 0))
        assert style_at(grid, 0, 2).bold


async def test_pages_are_turned_by_keys_and_named() -> None:
    grid = ImageGrid()
    async with Stage(grid).run_test(size=(29, 5)) as pilot:
        grid.show(images(20, 8, 8), [str(index) for index in range(20)])
        seen = [str(grid.border_subtitle)]
        for key in ("full_stop", "pagedown", "comma", "pageup", "pageup"):
            await pilot.press(key)
            seen.append(str(grid.border_subtitle))
        assert seen == ["1-2 of 20", "3-4 of 20", "5-6 of 20", "3-4 of 20", "1-2 of 20", "1-2 of 20"]
        for _ in range(30):
            grid.action_page(1)
        assert grid.border_subtitle == "19-20 of 20"
        assert drawn(grid)[4].split() == ["18", "19"]


async def test_filters_stand_in_full_rows() -> None:
    grid = ImageGrid()
    async with Stage(grid).run_test(size=(55, 32)) as pilot:
        grid.show(images(64, 3, 3, channels=1))
        await pilot.pause()
        lines = drawn(grid)
        assert lines[0] == " ".join(["▀" * 6] * 8)
        assert lines[3] == ""
        assert len([line for line in lines if line]) == 24
        assert grid.border_subtitle == "1-64 of 64"


@pytest.mark.parametrize("image", [(1, 1, 1), (3, 3, 3), (3, 32, 32), (3, 7, 300), (5, 64, 64)])
async def test_no_image_and_no_size_breaks_the_grid(image: tuple[int, int, int]) -> None:
    grid = ImageGrid()
    async with Stage(grid).run_test(size=(200, 60)) as pilot:
        for size in SIZES:
            grid.styles.width, grid.styles.height = size
            await pilot.pause()
            for captions in ((), ["a\nb\nc\nd\ne", "", "c"]):
                grid.show([np.zeros(image, np.uint8)] * 3, captions)
                grid.action_page(1)
                assert max(map(len, drawn(grid)), default=0) <= size[0]
        grid.show([])
        assert not "".join(drawn(grid))


async def test_ascii_images_are_ascii() -> None:
    grid = ImageGrid()
    async with Stage(grid, ascii_only=True).run_test(size=(40, 12)) as pilot:
        grid.show([np.arange(192, dtype=np.uint8).reshape(3, 8, 8)] * 9, ["é 猫…"] * 9)
        await pilot.pause()
        assert whole_screen(pilot.app).isascii()
        assert "=" in whole_screen(pilot.app)


async def test_widgets_shown_before_they_are_mounted_draw_afterwards() -> None:
    heat_map = HeatMap()
    heat_map.show(CONFUSION, ANIMALS)
    stage = Stage(heat_map)
    async with stage.run_test(size=(20, 5)):
        assert drawn(heat_map)[3] == " dog  [8]   2   90"
        assert stage.moves == [(2, 0)]
