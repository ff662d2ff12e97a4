"""The examples run as they stand, on the sample market and on real data; test_engine_examples.py has the others."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from notebooks import ORDER, WITHOUT_ENGINE, path_of

ROOT = Path(__file__).parents[2]
EVERY = sorted((ROOT / "examples").glob("*.py"))
EXAMPLES = [path_of(name) for name in WITHOUT_ENGINE]
REAL = ROOT.parent / "shared" / "data" / "sp500_2014_2018.parquet"


def test_there_are_examples_in_jupytexts_form():
    assert [path.stem for path in EVERY] == sorted(ORDER)
    for path in EVERY:
        text = path.read_text()
        assert text.startswith("# ---\n# jupyter:\n")
        assert text.count("# %%") - text.count("# %% [markdown]") >= 3


@pytest.mark.parametrize("data", ["sample", "real"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_it_stands(path, data, capsys, monkeypatch):
    if data == "real" and not REAL.exists():
        pytest.skip("the shared data is not here")
    monkeypatch.setattr(sys, "argv", [str(path), *([str(REAL)] if data == "real" else [])])
    runpy.run_path(str(path), run_name="__main__")
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) >= 3
    assert not re.search(r"\bnan\b", shown)
