"""The examples that ask a running engine, as they stand, on the sample market and on real data."""

import re
import runpy
import sys

import polars as pl
import pytest
from notebooks import ROOT, WITH_ENGINE, path_of

REAL = ROOT.parent / "shared" / "data" / "sp500_2014_2018.parquet"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.mark.parametrize("data", ["sample", "real"])
@pytest.mark.parametrize("name", WITH_ENGINE)
def test_an_example_runs_as_it_stands_and_leaves_the_engine_as_it_was(shared_run, name, data, capsys, monkeypatch):
    if data == "real" and not REAL.exists():
        pytest.skip("the shared data is not here")
    before = models(shared_run)
    monkeypatch.setenv("FACTOR_ENGINE_URL", f"http://127.0.0.1:{shared_run.port}")
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(shared_run.run_dir))
    monkeypatch.setattr(sys, "argv", [name, *([str(REAL)] if data == "real" else [])])
    try:
        space = runpy.run_path(str(path_of(name)), run_name="__main__")
    finally:
        for model in models(shared_run) - before:
            shared_run.ask("DELETE", f"/factor-model/{model}", timeout=120.0)
    shown = capsys.readouterr().out
    assert not re.search(r"\bnan\b", shown)
    CHECKS[name](space, shown)
    assert models(shared_run) == before


def models(run):
    return {row["model_id"] for row in run.ask("GET", "/factor-models/list", timeout=120.0).json()["models"]}


def watched(space, shown):
    """Returns of the factors come when half of the market is seen; the book's is that of the ticks by cap."""
    withheld, told = space["rows"][0], space["rows"][-1]
    assert withheld[1] is None
    assert withheld[3] != "told"
    assert told[3] == "told"
    assert told[0] == "100%"
    caps = space["panel"].fields["market_cap"][-1]
    caps = caps[caps > 0.0]  # NaN is none
    # The book `market` is of the names of the estimation universe, which are most of them.
    assert told[2] == pytest.approx(caps @ space["moves"] / caps.sum(), abs=5e-4)
    frame = space["value"].to_polars("factor_returns")
    assert frame.row(by_predicate=pl.col("factor") == "market")[1] == told[1]
    assert isinstance(told[1], float)
    assert len(space["rows"]) == 5


def compared(space, shown):
    """The versions are told, the job's factor returns are those of the model, and the book is what it was."""
    first = space["first"]
    assert space["versions"].to_polars()["version"].to_list()[:2] == [first + 1, first]
    assert space["page"].state == "succeeded", space["page"].message
    assert space["same"] is True
    before, back = (space[name].calculation_result.factor_values["total_risk"] for name in ("before", "back"))
    assert before == back


CHECKS = {"live_watch": watched, "recompute_and_compare_versions": compared}
