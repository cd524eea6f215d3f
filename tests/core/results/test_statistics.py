import math

import pytest

from torchdeck.core.results.statistics import mcnemar, p_words, spread, wilson


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, Table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_the_published_table(hits: int, images: int, low: float, high: float) -> None:
    found = wilson(hits / images, images)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_an_accuracy_on_ten_thousand_images_is_known_to_about_a_point() -> None:
    found = wilson(0.64, 10_000)
    assert found is not None
    assert 100 * (found.high - found.low) == pytest.approx(1.88, abs=0.01)


@pytest.mark.parametrize(("share", "images"), [(0.5, 0), (1.5, 10), (math.nan, 10), (-0.1, 10)])
def test_what_is_no_share_has_no_interval(share: float, images: int) -> None:
    assert wilson(share, images) is None


def test_few_discordant_pairs_are_tested_exactly() -> None:
    # 2 and 10 of 12 discordant pairs: 2 * (1 + 12 + 66) / 4096.
    assert mcnemar(2, 10, 100).p == pytest.approx(158 / 4096)
    assert mcnemar(6, 6, 100).p == 1.0
    assert mcnemar(0, 0, 100).p == 1.0


def test_many_discordant_pairs_are_tested_with_the_continuity_correction() -> None:
    # Agresti, "Categorical Data Analysis": approval ratings, 150 and 86 discordant; (64 - 1)^2 / 236 = 16.82.
    assert mcnemar(150, 86, 1600).p == pytest.approx(4.11e-5, rel=0.01)
    # 121 and 59 (the example of McNemar's test on Wikipedia): chi-square with correction 20.67.
    assert mcnemar(121, 59, 314).p == pytest.approx(5.45e-6, rel=0.01)


def test_both_forms_agree_where_they_meet() -> None:
    assert mcnemar(8, 16, 500).p == pytest.approx(mcnemar(8, 17, 500).p, abs=0.05)


def test_the_outcome_is_told_in_words() -> None:
    assert mcnemar(40, 20, 10_000).words == "the difference of 0.2 points is more than noise (p = 0.014)"
    assert mcnemar(300, 320, 10_000).words == "the difference of 0.2 points is within noise (p = 0.45)"
    assert mcnemar(900, 20, 10_000).words == "the difference of 8.8 points is more than noise (p < 0.001)"
    assert mcnemar(3, 2, 10_000).words == "the difference of 0.01 points is within noise (p = 1.00)"


@pytest.mark.parametrize(
    ("p", "told"), [(0.41, "p = 0.41"), (0.05, "p = 0.050"), (0.0004, "p < 0.001"), (0.003, "p = 0.003")]
)
def test_a_p_value_has_the_digits_that_say_something(p: float, told: str) -> None:
    assert p_words(p) == told


def test_the_spread_of_seeds_is_that_of_a_sample() -> None:
    found = spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, math.nan])
    assert found is not None
    assert (found.mean, found.number) == (5.0, 8)
    assert found.deviation == pytest.approx(math.sqrt(32 / 7))
    assert spread([1.0]) is not None
    assert spread([math.inf]) is None
