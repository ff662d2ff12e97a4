"""Text of a command line as values of requests, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from launch.command.fields import Field, holdings, read, write

LIST = Field("names", "list", required=False, choices=(), help="")
MAPPING = Field("weights", "mapping", required=False, choices=(), help="")
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(NAMES, NUMBERS))
def test_weights_are_read_as_they_are_written(weights):
    assert read(MAPPING, write(weights)) == weights


@given(st.lists(NAMES))
def test_names_are_read_as_they_are_written(names):
    assert read(LIST, write(names)) == names


def test_what_people_type():
    assert read(MAPPING, "A=0.5, B=-1e-3") == {"A": 0.5, "B": -0.001}
    assert read(MAPPING, '{"down": {"market": -0.2}}') == {"down": {"market": -0.2}}
    assert read(LIST, "A, B,") == ["A", "B"]


def test_a_file_with_weights_is_read_or_says_what_it_lacks(tmp_path):
    file = tmp_path / "book.csv"
    file.write_text("symbol,weight\nA,0.5\nB,0.5\n")
    assert read(MAPPING, str(file)) == {"A": 0.5, "B": 0.5}
    for text, said, rows in (
        ("name,weight\nA,1\n", "needs the column symbol", None),
        ("symbol,weight,sector\nA,1,x\n", "sector", None),
        ("symbol,weight\nA,1\nB,\nC,much\n", "2 rows of", [1, 2]),
        ("symbol,weight\nA,1\nB,2\nA,3\n", "more than once", [0, 2]),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput, match=said) as error:
            holdings(MAPPING, file)
        assert error.value.rows == rows
