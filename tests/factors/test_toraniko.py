"""Against toraniko: its own tests run on our functions, and the whole real file through both."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fixtures_toraniko import DATA, ORACLE
from oracle_scripts import toraniko_frames
from oracle_scripts.toraniko_whole import WINSOR, frames, styles_of

import factors.math
import factors.model
import factors.styles
import factors.utils
from factors.model import estimate_factor_returns
from factors.styles import factor_mom, factor_sze, factor_val

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not ORACLE.exists(), reason="no .venv-oracles: run `make oracles`"),
]

ALIAS = """
import sys, types
import factors.math, factors.model, factors.styles, factors.utils
package = types.ModuleType("toraniko")
sys.modules["toraniko"] = package
for name in ("math", "model", "styles", "utils"):
    module = sys.modules["factors." + name]
    sys.modules["toraniko." + name] = module
    setattr(package, name, module)
"""


def test_toranikos_own_tests_pass_on_our_functions(tmp_path):
    found = subprocess.run(
        [ORACLE, "-c", "import toraniko, pathlib; print(pathlib.Path(toraniko.__file__).parent / 'tests')"],
        capture_output=True,
        text=True,
        check=True,
    )
    for source in Path(found.stdout.strip()).glob("test_*.py"):
        (tmp_path / source.name).write_text(source.read_text())
    (tmp_path / "conftest.py").write_text(ALIAS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
    assert passed is not None
    assert int(passed.group(1)) == 68


@pytest.fixture(scope="module")
def given():
    """The frames of the whole real file: 1,258 dates of 481 symbols."""
    if not DATA.exists():
        pytest.skip("the real data file is not here")
    return frames(DATA)


@pytest.fixture(scope="module")
def scores(given):
    return {
        "mom": factor_mom(given["returns"]).collect(),
        "sze": factor_sze(given["caps"]).collect(),
        "val": factor_val(given["ratios"]).collect(),
        "val_winsorized": factor_val(given["ratios"], winsorize_features=0.05).collect(),
    }


def assert_same(ours: pl.DataFrame, theirs: pl.DataFrame, keys: list[str]) -> None:
    """Hold every cell to 1e-10, missing where theirs is missing."""
    assert set(ours.columns) == set(theirs.columns)
    ours, theirs = ours.sort(keys), theirs.select(ours.columns).sort(keys)
    assert ours.select(keys).equals(theirs.select(keys))
    names = [name for name in ours.columns if name not in keys]
    a, b = (frame.select(pl.col(names).cast(pl.Float64)).to_numpy() for frame in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "least"), [("mom", 300_000), ("sze", 593_000), ("val", 430_000), ("val_winsorized", 430_000)]
)
def test_style_scores_of_the_whole_file_agree_with_toraniko(toraniko_whole, scores, name, least):
    assert scores[name][f"{name.partition('_')[0]}_score"].is_finite().sum() > least
    assert_same(scores[name], pl.read_parquet(toraniko_whole / f"{name}.parquet"), ["date", "symbol"])


@pytest.mark.parametrize(("kind", "residualize"), [("residualized", True), ("plain", False)])
def test_factor_returns_of_the_whole_file_agree_with_toraniko(toraniko_whole, given, scores, kind, residualize):
    styles = styles_of(scores["mom"], scores["sze"], scores["val"])
    returns, residuals = estimate_factor_returns(
        given["returns"], given["caps"], given["sectors"], styles, WINSOR, residualize
    )
    assert len(returns) > 700
    theirs = pl.read_parquet(toraniko_whole / f"returns_{kind}.parquet")
    assert returns.columns == theirs.columns
    assert_same(returns, theirs, ["date"])
    kept = pl.read_parquet(toraniko_whole / f"residuals_{kind}.parquet")
    assert_same(residuals.select(kept.columns), kept, ["date"])
    # Toraniko's frame has the symbols of its first hundred rows only; ours has those that come later too.
    early = residuals.filter(pl.col("date").is_in(kept["date"].head(100).implode()))
    late = set(residuals.columns) - set(kept.columns)
    assert late == {name for name in residuals.columns if early[name].is_null().all()}
    assert late


@pytest.fixture(scope="module")
def frames_with_leavers(tmp_path_factory):
    """Toraniko's answers on names that list late, leave and pause, and ours."""
    folder = tmp_path_factory.mktemp("leavers")
    script = Path(toraniko_frames.__file__)
    where = os.environ | {"PYTHONPATH": str(script.parents[1])}
    subprocess.run([ORACLE, script, folder], check=True, timeout=170, capture_output=True, env=where)
    theirs = {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}
    return toraniko_frames.answers(factors.math, factors.model, factors.styles, factors.utils), theirs


CALLS = (
    "mom 2 2", "mom 5 0", "mom 6 3", "mom 10 8", "mom 3 1", "sze", "sze 3 7", "val", "val clipped", "returns True",
    "returns False", "residuals True", "residuals False", "winsorize", "centre", "norm", "percentiles", "fill",
    "smooth", "top", "top marked",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_every_drop_in_function_agrees_on_names_that_list_late_leave_and_pause(frames_with_leavers, call):
    ours, theirs = (answers[call] for answers in frames_with_leavers)
    assert ours.height == theirs.height
    keys = [name for name in ("date", "symbol") if name in ours.columns]
    assert_same(ours, theirs, keys)


def test_every_call_on_names_that_leave_is_compared(frames_with_leavers):
    ours, theirs = frames_with_leavers
    assert set(CALLS) == ours.keys() == theirs.keys()
