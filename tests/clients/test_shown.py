"""Answers of the clients in a notebook, by value; answers are of the shapes that the actors give."""

import ast
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clients import answers, generate
from clients.nats import Watched
from clients.shown import Answer
from clients.surface import TableAnswer
from clients.tables import tables_of
from contracts.frames import encode
from contracts.operations import OPERATIONS
from factors.errors import FactorError

ROOT = Path(__file__).parents[2]
CALCULATION = {
    "calculation_id": "x", "factor_type": "t", "calculation_time_ms": 1.0, "hardware_used": "cpu",
    "confidence_score": 1.0, "messagebus_published": False,
}  # fmt: skip


def answer(operation, values, field="factor_values", **more):
    row = OPERATIONS[operation]
    kind = getattr(answers, row.result.__name__)
    body = {"success": True, "message": "made", "calculation_result": {**CALCULATION, field: values, **more}}
    return kind.model_validate(body).of(row)


RISK = {
    "total_risk": 0.01, "exposures": {"market": 1.0, "beta": 0.2}, "percent_factor": {"market": 0.7, "beta": -0.1},
    "percent_specific": 0.4, "percent_by_symbol": {"A": 0.9, "B": 0.1, "C": 0.0},
}  # fmt: skip


def test_every_operation_has_an_answer_that_shows_itself():
    assert generate.ANSWERS.read_text() == generate.answers(), "run `python -m clients.generate`"
    for row in OPERATIONS.values():
        kind = getattr(answers, row.result.__name__)
        assert issubclass(kind, Answer)
        assert issubclass(kind, row.result)


def test_clients_take_of_factors_only_what_a_notebook_shows():
    taken = set()
    for path in (ROOT / "clients").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "factors":
                taken.add(".".join(node.module.split(".")[:2]))
    assert taken == {"factors.errors", "factors.notebook"}


def test_a_risk_answer_is_exposures_beside_shares_and_draws_the_shares():
    found = answer("portfolio_risk", RISK)
    assert found.parts() == ["exposures, percent_factor", "percent_by_symbol"]
    assert found.to_polars().rows() == [("market", 1.0, 0.7), ("beta", 0.2, -0.1)]
    assert found.to_polars("percent_by_symbol").rows() == [("A", 0.9), ("B", 0.1), ("C", 0.0)]
    picture = found.plot()
    assert picture.axes.get_title(loc="left") == "portfolio_risk: percent_factor"
    assert [bar.get_width() for bar in picture.axes.patches] == [0.7, -0.1]
    assert [label.get_text() for label in picture.axes.get_yticklabels()] == ["market", "beta"]
    html = found._repr_html_()
    assert "total_risk" not in html or ">0.01<" in html
    assert ">market<" in html
    with pytest.raises(FactorError, match="no part 'profit'; it has exposures, percent_factor; percent_by_symbol"):
        found.to_polars("profit")


def test_a_table_of_the_operation_is_laid_out_as_its_row_says():
    covariance = {"factors": ["a", "b"], "covariance": [[1.0, 0.5], [0.5, 4.0]]}
    found = answer("covariance", covariance)
    assert found.to_polars().columns == ["factor", "a", "b"]
    np.testing.assert_array_equal(found.plot().axes.get_images()[0].get_array(), covariance["covariance"])
    history = {"columns": ["date", "market"], "data": [[f"2024-01-0{n}", n / 100] for n in range(2, 6)]}
    line = answer("factor_returns", {"market": 0.05}, history=history).plot().axes.get_lines()[0]
    assert np.asarray(line.get_ydata()).tolist() == [0.02, 0.03, 0.04, 0.05]
    assert np.asarray(line.get_xdata())[0] == np.datetime64("2024-01-02")
    without = answer("factor_returns", {"market": 0.05})
    assert without.to_polars().rows() == [("market", 0.05)]
    exposed = answer("factor_exposures", {"market": 1.0, "beta": -0.5}, field="factor_exposures")
    assert exposed.to_polars().rows() == [("market", 1.0), ("beta", -0.5)]


def test_lists_are_tables_and_a_page_without_one_is_a_row():
    row = OPERATIONS["model_versions"]
    version = {
        "version": 2, "operation": "append", "created_at": "now", "n_dates": 3, "n_assets": 2, "last_date": None,
        "newest": True, "changed": ["1 day more"],
    }  # fmt: skip
    found = answers.VersionList.model_validate({"model_id": "m", "versions": [version], "count": 1}).of(row)
    assert found.to_polars()["changed"].to_list() == [["1 day more"]]
    assert ">1 day more<" in found._repr_html_()
    assert found.to_polars()["newest"].to_list() == [True]
    status = answers.ModelAnswer.model_validate(
        {"success": True, "message": "made", "model_id": "m", "model_version": 3, "calculation_result": CALCULATION}
    )
    assert status.to_polars().select("model_id", "model_version").rows() == [("m", 3)]


def test_names_cannot_write_into_the_page():
    html = answer("portfolio_risk", {"percent_factor": {"<img src=x onerror=alert(1)>": 1.0}})._repr_html_()
    assert "<img" not in html
    assert "&lt;img" in html


def test_nothing_to_draw_says_so():
    with pytest.raises(FactorError, match="no numbers to draw"):
        answer("delete_portfolio", {"portfolio_id": "core"}).plot(part=None)


def test_objects_of_the_same_names_are_one_table():
    tables = tables_of({"a": {"x": 1.0, "y": 2.0}, "b": {"y": 3.0, "x": 4.0}, "c": {"z": 1.0}, "d": {"e": {"x": None}}})
    assert [table.parts for table in tables] == [("a", "b"), ("c",), ("d",)]
    assert tables[0].rows == [("x", 1.0, 4.0), ("y", 2.0, 3.0)]


def test_a_table_answer_is_a_frame():
    made = TableAnswer(encode(pl.DataFrame({"symbol": ["A", "B"], "x": [1.0, -2.0]})), {"message": "two <names>"})
    assert made.to_polars().rows() == [("A", 1.0), ("B", -2.0)]
    assert [bar.get_width() for bar in made.plot().axes.patches] == [-2.0, 1.0]
    assert "two &lt;names&gt;" in made._repr_html_()


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ({"symbols": ["A", "B"], "values": {"f": [1.0, None]}}, [("A", 1.0), ("B", None)]),
        ({"factor_returns": {"market": 0.01}, "portfolios": {}}, [("market", 0.01)]),
        ({"factor_returns": None, "portfolios": {"core": {"return": -0.02}}}, [("core", -0.02)]),
        (encode(pl.DataFrame({"symbol": ["A"], "f": [2.0]})), [("A", 2.0)]),
    ],
)
def test_values_of_a_watch_are_a_frame(data, rows):
    value = Watched("desk", 1, "2024-01-02", None, 1.0, 0.5, True, False, data)
    assert value.to_polars().rows() == rows
    assert "provisional" in value._repr_html_()
    assert [bar.get_width() for bar in value.plot().axes.patches] == [row[1] for row in rows if row[1] is not None]
