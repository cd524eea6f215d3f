import pytest

from torchdeck.core.results.class_metrics import accuracy, class_figures, macro

CONFUSION = ((5, 1, 0), (2, 3, 1), (0, 0, 0))


def test_figures_of_a_class_are_those_of_the_textbook() -> None:
    first, second, absent = class_figures(CONFUSION)
    assert (first.precision, first.recall, first.images) == (5 / 7, 5 / 6, 6)
    assert first.f1 == pytest.approx(2 * (5 / 7) * (5 / 6) / (5 / 7 + 5 / 6))
    assert (second.precision, second.recall) == (3 / 4, 3 / 6)
    assert (absent.precision, absent.recall, absent.f1, absent.images) == (0, None, 0, 0)


def test_accuracy_is_the_share_of_the_diagonal() -> None:
    assert accuracy(CONFUSION) == 8 / 12
    assert accuracy(((0, 0), (0, 0))) == 0


def test_the_macro_mean_weighs_classes_with_images_alike() -> None:
    mean = macro(class_figures(CONFUSION))
    assert mean.recall == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert mean.images == 12


def test_a_class_that_is_never_predicted_has_no_precision_and_lowers_the_mean() -> None:
    figures = class_figures(((4, 0), (2, 0)))
    assert (figures[1].precision, figures[1].recall, figures[1].f1) == (None, 0, 0)
    assert macro(figures).precision == pytest.approx(4 / 6 / 2)


def test_figures_without_any_image_are_undefined() -> None:
    mean = macro(class_figures(((0, 0), (0, 0))))
    assert (mean.precision, mean.recall, mean.f1, mean.images) == (None, None, None, 0)
