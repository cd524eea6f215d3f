"""Values from files: those that are looked at many at a time are refused for what one alone would be refused for."""

import math
from typing import Any

import pytest

from torchdeck.core.utils.validation import matrix, number_rows, table, too_deep


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": 0, "b": value}
    return value


@pytest.mark.parametrize("value", [[], [1, 2.5, None], (0, -1e299), ["nan", 1.0, "-inf"]])
def test_numbers_and_what_json_has_for_them_are_numbers(value: Any) -> None:
    assert len(number_rows([value])[0]) == len(value)


WRONG: list[Any] = [True, "1", math.nan, math.inf, -math.inf, 1e300, 10**400, -(10**400), [1.0], {}]


@pytest.mark.parametrize("wrong", WRONG, ids=[repr(value)[:9] for value in WRONG])
@pytest.mark.parametrize("beside", [[], [1.0, 2, None], [-1e299, 1e299]])
def test_one_wrong_value_among_numbers_is_refused(wrong: Any, beside: list[Any]) -> None:
    for value in ([wrong, *beside], [*beside, wrong]):
        with pytest.raises(ValueError, match="not a"):
            number_rows([value])


@pytest.mark.parametrize("wrong", WRONG, ids=[repr(value)[:9] for value in WRONG])
def test_rows_of_numbers_are_as_given_and_have_nothing_else(wrong: Any) -> None:
    assert number_rows([[1, 2.5], [], [None], (3.0, "nan")])[:3] == ((1, 2.5), (), (None,))
    for value in ([[1.0], [wrong]], [[wrong, 1.0], []]):
        with pytest.raises(ValueError, match="not a"):
            number_rows(value)
    with pytest.raises(ValueError, match="not a list"):
        number_rows([1.0])


@pytest.mark.parametrize("value", [{}, {"a": nested(31)}])
def test_a_table_is_not_too_deep(value: Any) -> None:
    assert table(value) == value
    for wrong in ([value], None, {"a": nested(32)}):
        with pytest.raises(ValueError, match="not a table"):
            table(wrong)


@pytest.mark.parametrize("value", [None, 1, "12", {"a": 1}])
def test_what_is_no_list_holds_no_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="not a list"):
        number_rows([value])


@pytest.mark.parametrize("wrong", [True, -1, 1.0, 2**63, None, "1", [1]], ids=repr)
def test_a_matrix_is_of_counts(wrong: Any) -> None:
    assert matrix([[0, 2**63 - 1], [1, 2]]) == ((0, 2**63 - 1), (1, 2))
    with pytest.raises(ValueError, match="not whole numbers"):
        matrix([[0, 1], [1, wrong]])


@pytest.mark.parametrize("value", [[[1]], [], [[1, 2], [3, 4]]])
def test_a_matrix_is_square(value: Any) -> None:
    assert len(matrix(value)) == len(value)
    for uneven in ([[1, 2]], [[1], [2]], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="not square"):
            matrix(uneven)


@pytest.mark.parametrize("depth", [0, 1, 31, 32, 33, 5000])
def test_what_is_nested_deeper_than_32_is_too_deep(depth: int) -> None:
    assert too_deep(nested(depth)) is (depth > 32)
    assert too_deep({"first": [0], "then": nested(depth)}, 33) is (depth > 32)
