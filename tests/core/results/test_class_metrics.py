import pytest

from torchdeck.core.results.class_metrics import accuracy, class_figures, macro

CONFUSION = ((5, 1, 0), (2, 3, 1), (0, 0, 0))


def test_figures_of_a_class_are_those_of_the_textbook() -> None:
    first, second, absent = class_figures(CONFUSION)
    assert (first.precision, first.recall, first.images) == (5 / 7, 5 / 6, 6)
    assert first.f1 == pytest.approx(2 * (5 / 7) * (5 / 6) / (5 / 7 + 5 / 6))
    assert (second.precision, second.recall) == (3 / 4, 3 / 6)
    assert (absent.precision, absent.recall, absent.f1, absent.images) == (0, 0, 0, 0)


def test_accuracy_is_the_share_of_the_diagonal() -> None:
    assert accuracy(CONFUSION) == 8 / 12
    assert accuracy(((0, 0), (0, 0))) == 0


def test_the_macro_mean_weighs_classes_alike() -> None:
    mean = macro(class_figures(CONFUSION))
    assert mean.recall == pytest.approx((5 / 6 + 1 / 2 + 0) / 3)
    assert mean.images == 12
