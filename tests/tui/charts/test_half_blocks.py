import numpy as np
import pytest

from torchdeck.tui.charts.half_blocks import (
    SHADES,
    Cell,
    Tiling,
    ascii_shades,
    blend,
    filter_images,
    grid,
    half_blocks,
    most_confused,
    readable_on,
    scaled,
    shares,
    short_count,
    shorten,
    text_cells,
    tiling,
    tint_strengths,
    to_pixels,
    worst_pairs,
)

THREE = [[8, 2, 0], [0, 0, 0], [1, 5, 4]]


def test_the_worst_pairs_come_by_their_count() -> None:
    assert worst_pairs(THREE, 5) == [(2, 1, 5), (0, 1, 2), (2, 0, 1)]
    assert worst_pairs(THREE, 1) == [(2, 1, 5)]
    assert worst_pairs([[3]], 5) == worst_pairs([], 5) == worst_pairs([[2, 0], [0, 2]], 5) == []


def test_equal_mistakes_keep_the_order_of_the_classes() -> None:
    assert worst_pairs([[0, 1, 1], [1, 0, 0], [0, 0, 0]], 3) == [(0, 1, 1), (0, 2, 1), (1, 0, 1)]


def test_shares_of_a_class_without_images_are_zeros() -> None:
    assert shares(THREE).tolist() == [[0.8, 0.2, 0.0], [0.0, 0.0, 0.0], [0.1, 0.5, 0.4]]
    assert shares([]).shape == (0, 0)


def test_missed_and_wrongly_claimed_images_both_make_a_class_confused() -> None:
    assert most_confused(THREE, 3) == [1, 2, 0]
    assert most_confused(THREE, 2) == [1, 2]
    assert most_confused([], 3) == []


def test_only_errors_above_the_mean_are_tinted() -> None:
    strengths = tint_strengths([[80, 10, 10], [2, 90, 8], [0, 40, 60]])
    assert strengths[2, 1] == 1.0
    assert strengths[0, 1] == strengths[1, 0] == strengths[2, 0] == 0.0
    assert strengths[0, 0] == pytest.approx(0.25 + 0.75 * 0.8)


@pytest.mark.parametrize("classes", [0, 1, 2, 200])
def test_a_matrix_without_errors_or_images_tints_nothing_wrongly(classes: int) -> None:
    assert not tint_strengths(np.zeros((classes, classes), int).tolist()).any()
    perfect = tint_strengths((5 * np.eye(classes, dtype=int)).tolist())
    assert (perfect == np.eye(classes)).all()


def test_a_half_block_holds_two_pixels() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    rows = half_blocks(pixels)
    assert [len(row) for row in rows] == [4, 4]
    assert rows[0][0] == Cell("▀", (0, 1, 2), (12, 13, 14))
    assert rows[1][3] == Cell("▀", (33, 34, 35), (45, 46, 47))


def test_the_last_line_of_an_odd_height_has_no_lower_pixel() -> None:
    rows = half_blocks(np.zeros((3, 2, 3), np.uint8))
    assert len(rows) == 2
    assert rows[1][0] == Cell("▀", (0, 0, 0), None)


def test_ascii_pictures_are_ascii_and_brighter_where_denser() -> None:
    ramp = np.repeat(np.linspace(0, 255, 10).astype(np.uint8), 6).reshape(1, 10, 2, 3).transpose(0, 2, 1, 3)[0]
    assert "".join(cell.text for cell in ascii_shades(ramp)[0]) == SHADES
    assert "".join(cell.text for cell in ascii_shades(ramp, dark_ground=False)[0]) == SHADES[::-1]
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    assert all(cell.text.isascii() and cell.ink is None for row in ascii_shades(noise) for cell in row)
    assert ascii_shades(np.zeros((0, 0, 3), np.uint8)) == []


@pytest.mark.parametrize(("channels", "drawn"), [(1, 1), (3, 3), (64, 1)])
def test_filters_of_any_number_of_channels_become_images(channels: int, drawn: int) -> None:
    weights = np.random.default_rng(0).normal(size=(6, channels, 3, 3)).astype(np.float32)
    images = filter_images(weights, "each")
    assert (images.shape, images.dtype) == ((6, drawn, 3, 3), np.uint8)
    assert all((image.min(), image.max()) == (0, 255) for image in images)
    assert to_pixels(images[0]).shape == (3, 3, 3)


def test_filters_normalized_together_keep_their_differences() -> None:
    weights = np.array([0.0, 1.0, 0.0, 4.0]).reshape(2, 1, 1, 2)
    assert filter_images(weights, "each").ravel().tolist() == [0, 255, 0, 255]
    assert filter_images(weights, "all").ravel().tolist() == [0, 64, 0, 255]


def test_flat_and_broken_filters_are_grey() -> None:
    weights = np.array([[2.0, 2.0], [np.nan, np.inf]]).reshape(2, 1, 1, 2)
    assert filter_images(weights, "each").ravel().tolist() == [128] * 4
    assert filter_images(np.zeros((0, 3, 3, 3)), "all").shape[0] == 0


def test_images_are_shrunk_by_averaging_and_enlarged_by_repeating() -> None:
    pixels = np.array([0, 100, 200, 100, 8, 8], np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    assert scaled(pixels, 2, 1)[:, :, 0].tolist() == [[52, 104]]
    assert scaled(pixels[:1], 1, 2)[:, :, 0].tolist() == [[0, 0, 100, 100, 200, 200]] * 2


@pytest.mark.parametrize(
    ("count", "image", "space", "wanted"),
    [
        (64, (3, 3), (16, 31), (1, 1, 8, 8)),
        (64, (3, 3), (32, 55), (1, 2, 8, 8)),
        (64, (3, 3), (15, 31), (1, 1, 8, 7)),
        (64, (3, 3), (100, 200), (1, 4, 8, 14)),
        (12, (3, 3), (4, 80), (1, 1, 6, 2)),
        (11, (5, 5), (6, 30), (1, 1, 5, 2)),
        (1, (2, 2), (50, 50), (1, 4, 1, 10)),
        (76, (64, 64), (40, 120), (2, 1, 3, 2)),
        (5, (500, 400), (1, 1), (400, 1, 1, 1)),
        (5, (8, 8), (0, 0), (1, 1, 0, 0)),
    ],
)
def test_the_scale_is_the_largest_at_which_images_fit(
    count: int, image: tuple[int, int], space: tuple[int, int], wanted: tuple[int, int, int, int]
) -> None:
    found = tiling(count, image, space)
    assert (found.shrink, found.enlarge, found.columns, found.rows) == wanted


def test_captions_take_lines_and_a_legible_width() -> None:
    assert tiling(76, (32, 32), (20, 118), 4) == Tiling(1, 1, 3, 1, 32, 20, 1)
    assert tiling(76, (8, 8), (8, 40), 4) == Tiling(1, 1, 3, 1, 12, 8, 1)


def test_tiles_stand_in_a_grid_with_a_free_cell_between() -> None:
    tile = [[Cell("a"), Cell("b")]]
    rows = grid([tile, tile, tile], Tiling(1, 1, 2, 2, 2, 1, 1))
    assert ["".join(cell.text for cell in row) for row in rows] == ["ab ab ", "", "ab "]
    assert grid([], Tiling(1, 1, 0, 0, 0, 0, 0)) == []


def test_cut_text_never_takes_more_cells_than_it_may() -> None:
    assert [shorten("automobile", width) for width in (10, 6, 3, 0)] == ["automobile", "autom…", "aut", ""]
    assert shorten("automobile", 6, ascii_only=True) == "automo"
    assert shorten("猫猫猫", 5) == "猫猫…"
    assert shorten("é\x1b[31m", 9, ascii_only=True) == "?[31m"
    assert [cell.text for cell in text_cells("a猫e\u0301", 9, "ink")] == ["a", "猫", "", "e\u0301"]


def test_counts_fit_narrow_cells() -> None:
    numbers = (0, 999, 1000, 99_999, 100_000, 999_999, 12_345_678)
    assert [short_count(number, 3) for number in numbers] == ["0", "999", "1k", "99k", ".1M", ".9M", "12M"]
    assert short_count(12345, 5) == "12345"


def test_text_on_a_tint_is_black_or_white_by_contrast() -> None:
    assert readable_on((0x2A, 0x6F, 0xB0)) == readable_on((0, 0, 0)) == (255, 255, 255)
    assert readable_on((0xD8, 0x7A, 0x20)) == readable_on((255, 255, 255)) == (0, 0, 0)
    assert blend((0, 0, 0), (200, 100, 50), 0.5) == (100, 50, 25)
