import pytest

from torchdeck.core.errors import InputError
from torchdeck.tui.format.values import count, duration, figure, parse_accuracy, percent, points, safe, size


@pytest.mark.parametrize(
    ("foreign", "wanted"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("two\nlines\ttab", "two lines tab"),
        ("bell\x07 \u202ereversed\u2066", "bell reversed"),
        ("\udcff lone surrogate", " lone surrogate"),
        ("[bold]plain[/bold] é 猫", "[bold]plain[/bold] é 猫"),
    ],
)
def test_foreign_text_cannot_steer_the_terminal(foreign: str, wanted: str) -> None:
    assert safe(foreign) == wanted


def test_figures_are_written_as_a_person_reads_them() -> None:
    assert [percent(0.53364), percent(None), figure("test/loss", 1.23456), figure("test/accuracy", 1.0)] == [
        "53.36 %", "-", "1.2346", "100.00 %",
    ]  # fmt: skip
    assert [duration(4.24), duration(187), duration(7387), duration(59.96)] == ["4.2 s", "3:07", "2:03:07", "60.0 s"]
    assert [size(None), size(0), size(1023), size(1024), size(5 * 2**40)] == [
        "-",
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 TiB",
    ]
    assert count(62006) == "62,006"


def test_a_difference_that_rounds_to_zero_has_no_sign() -> None:
    assert [points(value, " pt") for value in (-0.00001, 0.17404, -0.007, None)] == [
        "0.00 pt",
        "17.40 pt",
        "-0.70 pt",
        "-",
    ]


def test_an_accuracy_is_a_percentage_or_a_share() -> None:
    assert [parse_accuracy(text) for text in ("60%", "60", "0.6", "0.5%", "100")] == [0.6, 0.6, 0.6, 0.005, 1.0]
    for text in ("", "much", "0", "101", "-5%", "nan"):
        with pytest.raises(InputError, match=r"write 60% or 0\.6"):
            parse_accuracy(text)
