"""The builders of operators: each operator has one, and a file in the folder is enough to add one."""

import sys

import numpy as np
import pytest

from factors.library import compile as package
from factors.library import compile_library
from factors.library.compile import registry
from factors.library.language.operators import BY_NAME, OPERATORS, Operator, Parameter

BUILDER = """
from factors.library.compile.registry import builds
from factors.library.kernels.layout import Op

@builds("thrice")
def thrice(lowering, args, settings):
    return lowering.element(Op.MUL, args[0], lowering.number(3.0))
"""


def test_every_operator_has_a_builder_and_every_builder_an_operator():
    assert set(registry.builders()) == set(OPERATORS)


@pytest.fixture
def thrice(tmp_path, monkeypatch):
    """One file beside the builders and one row of the table of operators."""
    (tmp_path / "builders_thrice.py").write_text(BUILDER)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    row = Operator("thrice", (), (Parameter("x", "panel"),), "like", ())
    for table in (OPERATORS, BY_NAME):
        monkeypatch.setitem(table, "thrice", row)
    registry.builders.cache_clear()
    yield
    registry.BUILDERS.pop("thrice", None)
    sys.modules.pop("factors.library.compile.builders_thrice", None)
    registry.builders.cache_clear()


@pytest.mark.usefixtures("thrice")
def test_an_operator_of_known_nodes_is_one_file_and_one_row():
    library = compile_library({"mine": "thrice(close)"})
    close = np.array([[1.0, 2.0], [3.0, np.nan]])
    dates = np.array(["2024-01-02", "2024-01-03"], "datetime64[D]")
    np.testing.assert_array_equal(library.stream(2).warm({"close": close}, {}, dates), [[9.0, np.nan]])
