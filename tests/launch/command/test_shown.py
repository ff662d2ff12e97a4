"""Answers as tables for people."""

import io

import pytest
from rich.console import Console

from clients.tables import cells, table_of
from contracts.operations import OPERATIONS
from launch.command.shown import MOST_ROWS, laid_out, show


def printed(answer):
    out = io.StringIO()
    show(Console(file=out, width=160), answer)
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "columns", "rows"),
    [
        ({"A": 1.0, "B": -2.0}, ("name", "value"), [("B", -2.0), ("A", 1.0)]),
        ({"A": "x", "B": None}, ("name", "value"), [("A", "x"), ("B", None)]),
        ({"A": {"beta": 1.0}, "B": {"size": 2.0}}, ("name", "beta", "size"), [("A", 1.0, None), ("B", None, 2.0)]),
        ([{"a": 1, "b": 2}, {"a": 3}], ("a", "b"), [(1, 2), (3, None)]),
        ({"a": [1, 2], "b": [3, 4]}, ("a", "b"), [(1, 3), (2, 4)]),
        ([[1, 2], [3, 4]], ("0", "1"), [(1, 2), (3, 4)]),
    ],
)
def test_the_shapes_of_answers_are_tables(value, columns, rows):
    assert cells(value) == (columns, rows)


@pytest.mark.parametrize("value", [3, "text", [], {}, [1, 2], {"a": [1, 2], "b": [3]}, {"a": [[1]]}])
def test_other_things_are_none(value):
    assert cells(value) == (None, [])


def test_numbers_stand_under_each_other_and_what_is_missing_is_a_dash():
    text = printed({"success": True, "calculation_result": {"date": "2024-01-02", "risk": {"A": 0.25, "B": -11.5}}})
    assert "date  2024-01-02" in text
    lines = [line.rstrip() for line in text.splitlines()]
    assert "A      0.25" in lines
    assert "B     -11.5" in lines
    assert "success" not in text
    assert "-" in printed({"rows": [{"a": None}]}).split()


def test_long_tables_say_how_much_is_left():
    text = printed({"values": {f"N{n:03d}": float(n) for n in range(MOST_ROWS + 5)}})
    assert "and 5 more rows: --json or --arrow has all" in text


def test_a_list_in_a_cell_is_short():
    text = printed({"models": [{"id": "m", "factors": ["a", "b", "c", "d"], "few": ["x", "y"]}]})
    assert "4: a, b, c, ..." in text
    assert "x, y" in text


def test_the_largest_table_goes_into_a_file():
    answer = {"calculation_result": {"few": {"A": 1.0}, "many": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}}
    assert table_of(answer) == ("many", ("a", "b"), [(1, 2), (3, 4)])
    assert table_of({"calculation_result": {"deep": {"deeper": []}}, "success": True}) is None


FORMS = {"f": {"raw": [1.0, None], "rank": [0.5, None]}, "g": {"raw": [3.0, 4.0], "rank": [0.1, 0.2]}}
HISTORY = {"dates": ["2024-01-02", "2024-01-03"], "risk": [0.1, 0.2], "exposures": {"beta": [1.0, None]}, "bias": 0.9}
SQUARE = {"factors": ["a", "b"], "covariance": [[1.0, 0.5], [0.5, 2.0]]}


@pytest.mark.parametrize(
    ("operation", "calculation", "columns", "rows"),
    [
        ("factor_cross_section", {"symbols": ["A", "B"], "factor_values": FORMS}, ("factor", "symbol", "raw", "rank"),
         [("f", "A", 1.0, 0.5), ("f", "B", None, None), ("g", "A", 3.0, 0.1), ("g", "B", 4.0, 0.2)]),
        ("risk_history", {"factor_values": HISTORY}, ("date", "risk", "exposures.beta"),
         [("2024-01-02", 0.1, 1.0), ("2024-01-03", 0.2, None)]),
        ("covariance", {"factor_values": SQUARE}, ("factor", "a", "b"), [("a", 1.0, 0.5), ("b", 0.5, 2.0)]),
    ],
)  # fmt: skip
def test_values_are_beside_the_names_that_the_operation_gives_them(operation, calculation, columns, rows):
    laid = laid_out({"success": True, "calculation_result": calculation}, OPERATIONS[operation])
    assert table_of(laid) == ("factor_values", columns, rows)


def test_figures_beside_lists_stay_and_an_answer_without_lists_is_as_it_was():
    laid = laid_out({"calculation_result": {"factor_values": HISTORY}}, OPERATIONS["risk_history"])
    assert laid["calculation_result"]["bias"] == 0.9
    plain = {"calculation_result": {"factor_values": {"market": 0.1}}}
    assert laid_out(plain, OPERATIONS["factor_returns"]) == plain
    assert laid_out({"models": []}, None) == {"models": []}


def test_an_object_in_a_cell_is_short():
    text = printed({"rows": [{"watch": {"a": 1, "b": None, "c": True, "d": 2.5}}]})
    assert "4: a=1, b=-, c=yes, ..." in text


def test_a_time_in_seconds_keeps_its_digits():
    text = printed({"rows": [{"since": 1796057425.96, "cap": 1.5e18, "risk": 0.123456789}]})
    assert "1796057426" in text
    assert "1.5e+18" in text
    assert "0.123457" in text
