"""Tables of pandas and pyarrow are read as the Polars frame of the same values is, and so is what pandas writes."""

import json
import os
import subprocess

import pytest
from fixtures_toraniko import ORACLE, ROOT

from contracts.errors import InvalidInput
from contracts.frames import from_json
from factors import Panel


@pytest.fixture(scope="module")
def theirs():
    if not ORACLE.exists():
        pytest.skip("no .venv-oracles: run `make oracles`")
    script = ROOT / "tests" / "oracle_scripts" / "pandas_tables.py"
    done = subprocess.run(
        [ORACLE, script], capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    return json.loads(done.stdout)


@pytest.mark.oracle
def test_every_form_of_pandas_and_pyarrow_gives_the_panel_of_the_polars_frame(theirs):
    assert len(theirs["tables"]) == 16
    assert {name: answer for name, answer in theirs["tables"].items() if answer != "same"} == {}


@pytest.mark.oracle
@pytest.mark.parametrize("shape", ["split", "records", "columns", "index", "table", "epoch", "multi-index table"])
def test_every_shape_that_pandas_writes_as_json_is_one_table(theirs, shape):
    panel = Panel.from_frame(from_json(theirs["shapes"][shape]))
    assert panel.symbols == ("A", "B")
    assert [str(day) for day in panel.dates] == ["2024-01-02", "2024-01-03"]
    assert panel.fields["market_cap"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert panel.categories["sector"].names == ("Oil", "Tech", "Unknown")


@pytest.mark.oracle
def test_rows_without_names_and_an_index_that_would_be_lost_are_refused_with_what_to_call(theirs):
    with pytest.raises(InvalidInput, match="reset_index"):
        from_json(theirs["shapes"]["multi-index split"])
    with pytest.raises(InvalidInput, match="orient"):
        from_json(theirs["shapes"]["values"])


@pytest.mark.oracle
def test_a_frame_of_pandas_that_cannot_be_read_says_what_to_call(theirs):
    words = {
        "an index of texts without a name": "rename_axis('date')",
        "a multi-index without names": "rename_axis(['date', 'symbol'])",
        "a wide table": "stack() or unpivot() a wide one",
        "symbols that are numbers": "write numbers as text",
        "one column": "give a table",
        "numbers with text between": "it holds 'NA'; na_values of the intake",
    }
    assert {name: told for name, told in theirs["refused"].items() if words[name] not in told} == {}
