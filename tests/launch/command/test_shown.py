"""Answers as tables for people."""

import io

import pytest
from rich.console import Console

from clients.tables import cells, table_of
from launch.command.shown import MOST_ROWS, show


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
