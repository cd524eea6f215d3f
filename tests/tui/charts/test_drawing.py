import random
import warnings
from itertools import pairwise

import numpy as np
import pytest
from fault_counts import Faults

from torchdeck.tui.charts.axes import column_ticks, even_rows, limits, log_rows
from torchdeck.tui.charts.cursor import step_cursor, values_at
from torchdeck.tui.charts.drawing import Line, Rule, View, draw, lettered
from torchdeck.tui.charts.points import Memo, bin_points, clean, logarithms, smoothed

NAN, INF = float("nan"), float("inf")


def text(lines: list[Line], view: View, rules: list[Rule] | None = None) -> str:
    drawing = draw(lines, rules or [], view)
    return "\n".join("".join(cell.char for cell in row).rstrip() for row in drawing.rows)


def column(lines: list[Line], view: View, char: str) -> list[tuple[int, int]]:
    rows = draw(lines, [], view).rows
    return [(x, y) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell.char == char]


def random_values(rng: random.Random, length: int) -> list[float]:
    values = [rng.gauss(1, 1) for _ in range(length)]
    odd = {
        "plain": values,
        "gaps": [NAN, INF, -INF],
        "huge": [1e308, -1e308, 1e30, 1e29],
        "tiny": [1e-300, 1e-25, 0.0],
        "wild": [rng.choice([1, -1]) * 10 ** rng.uniform(-35, 35) for _ in range(9)],
        "constant": [rng.choice([0, 1, -3, 1e-20, 1e29, 0.5])],
        "negative": [-abs(value) for value in values],
        "shifted": [1e9 + value for value in values],
    }
    kind = rng.choice(sorted(odd))
    share = {"gaps": 0.4, "huge": 0.3, "tiny": 0.5}.get(kind, 1.0)
    return [rng.choice(odd[kind]) if rng.random() < share else value for value in values]


def random_line(rng: random.Random, ink: int) -> Line:
    length = rng.choice([0, 1, 2, 3, 10, 100, 1000])
    xs = rng.choice([list(range(length)), random_values(rng, length), [5] * length])
    band = [random_values(rng, length) for _ in range(2)] if rng.random() < 0.2 else [None, None]
    options = {name: rng.random() < 0.4 for name in ("spread", "smooth", "marks", "dim", "broken")}
    label, letter = rng.choice(["train", "[red]", "\x1b[31m猫"]), rng.choice(["", "a", "\x1b", "猫", "é"])
    return Line(label, xs, random_values(rng, length), ink, letter=letter, low=band[0], high=band[1], **options)


def random_view(rng: random.Random) -> View:
    return View(
        rng.choice([0, 1, 5, 16, 60, 200, rng.randint(0, 200)]),
        rng.choice([0, 1, 2, 5, 20, 60, rng.randint(0, 60)]),
        percent=rng.random() < 0.3,
        log=rng.random() < 0.4,
        smoothing=rng.choice([0, 0.6, 0.9, 0.98]),
        x_range=rng.choice([None, None, None, (0.0, 1.0), (-1e29, 1e29), (3.0, 3.0000001)]),
        x_unit=rng.choice(["step", "\x1b[2J猫", "", "a unit that is far too long for any chart"]),
        ascii=rng.random() < 0.3,
        tints=rng.random() < 0.7,
    )


def test_any_chart_of_any_size_is_drawn_in_single_printable_characters(faults: Faults, soak: int) -> None:
    for seed in range(1500 * soak):
        faults("chart values")
        rng = random.Random(seed)
        lines = [random_line(rng, ink) for ink in range(rng.choice([0, 1, 1, 2, 3, 8]))]
        labels = ["reported", "\x1b[0m", "猫猫"]
        rules = [Rule(random_values(rng, 1)[0], rng.choice(labels)) for _ in range(rng.choice([0, 0, 1, 2]))]
        view = random_view(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rows = draw(lines, rules, view).rows
        assert [len(row) for row in rows] == [view.width] * view.height, seed
        for cell in (cell for row in rows for cell in row):
            assert len(cell.char) == 1, seed
            assert cell.char.isprintable(), seed
            assert cell.char != "猫", seed
            assert not view.ascii or " " <= cell.char <= "~", seed


LOSS = """\
    │
 2.0┤⠢⣀
    │  ⠑⠤⢄
 1.5┤     ⠑⠒⢄
    │        ⠉⠑⢄⣀
 1.0┤            ⠑⠢⢄   aimed at
    │╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌⠉⠒⢄⡀╌╌╌╌╌╌╌
 0.5┤                  ⠈⠑⠤⣀
    │                      ⠑⠢⢄
 0.0┤                         ⠉
    └┬─────┬─────┬──────┬──────
     0     5     10     15 step"""

ACCURACY = """\
    |                            t
    |                   o********
 75%+                ***
    |             ***
    |         o***
    |        *
 50%+      **
    |    **
    |  **
    |o*
    ++--------+---------+---------
     1        2         3    epoch"""

RATE = """\
     │
  0.1┤⠢⣀
     │  ⠉⠑⢄⣀
 0.01┤      ⠉⠢⢄⡀
     │         ⠈⠑⠤⣀
0.001┤             ⠉⠢⠤⡀
     │                ⠈⠑⠤⢄
 1e-4┤                    ⠉⠢⠤⣀
     │                        ⠑⠒⢄⡀
     │                           ⠈
     └┬──────┬──────┬──────┬──────
      0      10     20     30 step"""


def test_a_falling_loss_is_a_line_between_round_ticks() -> None:
    assert text([Line("train", range(21), np.linspace(2, 0.1, 21))], View(31, 12), [Rule(0.7, "aimed at")]) == LOSS


def test_an_accuracy_in_ascii_has_marks_a_letter_and_a_percent_axis() -> None:
    lines = [Line("test", [1, 2, 3, 4], [0.3, 0.6, 0.8, 0.9], marks=True, letter="t")]
    assert text(lines, View(34, 12, percent=True, x_unit="epoch", ascii=True)) == ACCURACY


def test_a_logarithmic_chart_has_ticks_at_round_numbers() -> None:
    assert text([Line("lr", range(40), 0.1 * 0.8 ** np.arange(40))], View(34, 12, log=True)) == RATE


def test_a_chart_without_points_says_so() -> None:
    assert "no data yet" in text([Line("train", [], []), Line("test", [1], [NAN])], View(30, 8))


def test_ticks_are_round_numbers_that_fall_exactly_on_their_rows() -> None:
    rng = random.Random(1)
    for _ in range(300):
        low = rng.uniform(-5, 5) * 10 ** rng.randint(-3, 3)
        high, rows = low + rng.uniform(0.01, 3) * 10 ** rng.randint(-3, 3), rng.randint(2, 50)
        scale = even_rows(low, high, rows)
        assert scale.base - scale.unit / 2 <= low
        assert high <= scale.base + (rows - 0.5) * scale.unit
        assert scale.ticks or rows < 4
        for before, after in pairwise(scale.ticks):
            assert f"{(after.at - before.at) * scale.unit:.3e}"[:4] in ("1.00", "2.00", "2.50", "5.00")
        for tick in scale.ticks:
            value = scale.base + tick.at * scale.unit
            number = tick.label.replace("k", "e3").replace("M", "e6")
            assert float(number) == pytest.approx(value, abs=scale.unit * 1e-3)


def test_a_value_on_a_tick_is_drawn_in_the_row_of_the_tick() -> None:
    for height in range(7, 40):
        drawing = draw([Line("a", [0, 1], [0.0, 3.0]), Line("b", [0, 1], [1.0, 1.0], 1)], [], View(30, height))
        rows = {"".join(cell.char for cell in row[:4]).strip(): row for row in drawing.rows}
        label = next((label for label in ("1", "1.0") if label in rows), None)
        if label:
            assert any(cell.ink == "series-1" for cell in rows[label]), height


def test_logarithmic_ticks_lie_within_an_eighth_of_a_row() -> None:
    rng = random.Random(2)
    for _ in range(200):
        low, rows = rng.uniform(-8, 3), rng.randint(4, 50)
        high = low + 10 ** rng.uniform(-2, 1.3)
        scale = log_rows(low, high, rows)
        assert scale.base - scale.unit / 2 <= low + 1e-9
        assert high <= scale.base + (rows - 0.5) * scale.unit + 1e-9
        assert scale.ticks
        for tick in scale.ticks:
            exact = (np.log10(float(tick.label)) - scale.base) / scale.unit
            assert abs(exact - tick.at) < 0.13


def test_labels_below_never_touch() -> None:
    for columns in range(5, 200, 7):
        for high in (1, 7, 300, 12345, 3e6):
            ticks = column_ticks(0, high, columns, 4)
            ends = [(tick.at - (len(tick.label) - 1) // 2, tick.at + len(tick.label) // 2) for tick in ticks]
            assert all(before[1] + 1 < after[0] for before, after in pairwise(ends))


def test_epochs_and_steps_are_labelled_by_whole_numbers() -> None:
    assert [tick.label for tick in column_ticks(1, 3, 100, 5, whole=True)] == ["1", "2"]
    assert [tick.label for tick in column_ticks(0, 0.4, 30, 5, whole=True)] != ["0"]


def test_a_single_point_stands_at_the_right_end_of_an_axis_from_zero() -> None:
    drawn = draw([Line("test", [1.0], [0.5])], [], View(60, 12, percent=True, x_unit="epoch"))
    assert (drawn.x_low, drawn.x_high) == (0.0, 1.0)


def test_a_reported_accuracy_far_from_the_data_is_an_arrow_and_the_axis_fits_the_data() -> None:
    line = Line("test", list(range(10)), [0.10 + place / 1000 for place in range(10)])
    shown = text([line], View(60, 12, percent=True), [Rule(0.9261, "reported 92.61 %")])
    assert "▲ reported 92.61 %" in shown
    assert not any(label in shown for label in ("50%", "90%"))


@pytest.mark.parametrize("rows", range(2, 60, 3))
def test_a_percent_axis_stays_between_nothing_and_everything(rows: int) -> None:
    for low, high in ((0, 1), (0.9, 0.99), (0.0, 0.01), (1.0, 1.0), (-3, 7)):
        labels = [float(tick.label.rstrip("%")) for tick in even_rows(low, high, rows, percent=True).ticks]
        assert all(0 <= label <= 100 for label in labels)


def test_one_spike_does_not_flatten_the_rest_and_is_marked() -> None:
    ys = np.concatenate([[100.0, 60.0], np.linspace(2.3, 0.5, 98)])
    assert limits(ys)[1] < 5
    drawing = draw([Line("train", range(100), ys)], [], View(60, 20))
    assert drawing.rows[0][5].char == "▲"
    steep = 2.3 * np.exp(-np.arange(100) / 5)
    assert limits(steep)[1] == 2.3


def test_thinning_keeps_the_extremes_of_every_column() -> None:
    ys = np.random.default_rng(0).normal(size=100_000)
    ys[12_345], ys[67_890] = 50, -50
    binned = bin_points(clean(np.arange(ys.size), ys), 0, ys.size - 1, 106)
    assert len(binned.columns) <= 106
    assert (binned.high.max(), binned.low.min()) == (50, -50)
    assert int(binned.counts.sum()) == ys.size


def test_a_gap_is_not_bridged() -> None:
    ys = [1.0, 1.0, NAN, NAN, 1.0, 1.0]
    binned = bin_points(clean(range(6), ys), 0, 5, 60)
    assert binned.joined.tolist() == [False, True, False, True]
    logs = logarithms(clean(range(6), [1.0, 10.0, -1.0, NAN, 1.0, 0.0]))
    assert (logs.ys.tolist(), logs.breaks.tolist()) == ([0.0, 1.0, 0.0], [2])


def test_unsorted_points_are_put_in_order() -> None:
    points = clean([3, 1, INF, 2], [30.0, 10.0, 5.0, 20.0])
    assert (points.xs.tolist(), points.ys.tolist(), points.breaks.size) == ([1, 2, 3], [10, 20, 30], 0)


@pytest.mark.parametrize("decay", [0.6, 0.9, 0.98])
def test_smoothing_is_the_debiased_moving_average(decay: float) -> None:
    ys = np.random.default_rng(0).normal(size=5000)
    total, wanted = 0.0, []
    for count, y in enumerate(ys, 1):
        total = decay * total + (1 - decay) * y
        wanted.append(total / (1 - decay**count))
    assert smoothed(clean(np.arange(ys.size), ys), decay).ys == pytest.approx(np.array(wanted), abs=1e-9)
    assert smoothed(clean([0, 1], [7.0, 7.0]), decay).ys == pytest.approx([7, 7])


def test_unchanged_arrays_are_neither_smoothed_nor_thinned_again() -> None:
    made: list[int] = []
    memo, source = Memo(), np.zeros(3)
    for turn in range(3):
        memo.get(source, ("tag",), lambda turn=turn: made.append(turn) or turn)
        memo.sweep()
    memo.sweep()
    memo.get(source, ("tag",), lambda: made.append(9) or 9)
    assert made == [0, 9]


def test_the_spread_stands_behind_the_line_and_a_ghost_has_none() -> None:
    ys = np.tile([1.0, 2.0, 3.0], 300)
    tints = {
        cell.tint or cell.ink
        for line in (Line("a", range(900), ys, 3, spread=True), Line("b", range(900), ys, 4, spread=True, dim=True))
        for row in draw([line], [], View(40, 12)).rows
        for cell in row
    }
    assert "tint-3" in tints
    assert "dim" in tints
    assert "tint-4" not in tints
    plain = draw([Line("a", range(900), ys, 3, spread=True)], [], View(40, 12, tints=False))
    assert not any(cell.tint or cell.ink.startswith("tint") for row in plain.rows for cell in row)


def test_a_band_fills_the_columns_between_its_points() -> None:
    line = Line("a", [0, 10, 20], [1.0, 2.0, 1.0], low=[0.0, 1.0, 0.0], high=[2.0, 3.0, 2.0])
    drawing = draw([line], [], View(50, 14))
    filled = {x for row in drawing.rows for x, cell in enumerate(row) if "tint-0" in (cell.ink, cell.tint)}
    assert filled == set(range(drawing.left, 50))


def test_letters_that_would_collide_move_along_their_lines() -> None:
    lines = [Line(name, [0, 10], [0, 1], ink, letter=name) for ink, name in enumerate("abc")]
    places = [column(lines, View(50, 14), name) for name in "abc"]
    assert [len(place) for place in places] == [1, 1, 1]
    assert len({place[0] for place in places}) == 3


def test_a_broken_run_ends_in_a_cross() -> None:
    lines = [Line("a", [0, 1, 2], [1.0, 2.0, NAN], broken=True)]
    assert len(column(lines, View(40, 10), "✗")) == 1
    assert len(column(lines, View(40, 10, ascii=True), "x")) == 1


def test_marks_that_would_touch_are_left_out() -> None:
    assert len(column([Line("a", range(8), range(8), marks=True)], View(60, 20), "●")) == 8
    assert not column([Line("a", range(100), range(100), marks=True)], View(60, 20), "●")


def test_without_colours_every_line_has_a_letter_of_its_own() -> None:
    lines = [Line(label, [], []) for label in ("train", "test", "猫")] + [Line("x", [], [], letter="a")]
    assert [line.letter for line in lettered(lines)] == ["t", "e", "b", "a"]


def test_a_reading_is_the_nearest_value_or_the_last_one_before() -> None:
    lines = [Line("dense", range(100), range(100)), Line("sparse", [10, 50], [0.5, 0.7])]
    view, memo = View(60, 20), Memo()
    assert values_at(lines, 30, 2, view, memo) == [30, 0.5]
    assert values_at(lines, 49, 2, view, memo) == [49, 0.7]
    assert values_at(lines, 5, 2, view, memo) == [5, None]
    assert values_at(lines, 80, 2, view, memo) == [80, None]


def test_the_cursor_goes_from_point_to_point_of_a_sparse_series() -> None:
    lines, view, memo = [Line("test", [0, 30, 100], [1, 2, 3])], View(60, 20), Memo()
    drawing = draw(lines, [], view, memo)
    assert step_cursor(lines, drawing, 0, 1, memo, view) == 30
    assert step_cursor(lines, drawing, 30, 1, memo, view) == 100
    assert step_cursor(lines, drawing, 100, 1, memo, view) == 100
    assert step_cursor(lines, drawing, 100, -1, memo, view) == 30
