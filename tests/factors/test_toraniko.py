"""Against toraniko: its own tests run on our functions, and the whole real file through both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fixtures_toraniko import DATA, ORACLE
from oracle_scripts.toraniko_whole import WINSOR, frames, styles_of

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
