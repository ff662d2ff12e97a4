"""Against toraniko: its own tests run on our functions, and the real data through both."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from factors.model import estimate_factor_returns
from factors.styles import factor_mom, factor_sze, factor_val

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
DATA = ROOT.parent / "shared" / "data" / "sp500_2014_2018.parquet"
STYLES = ("mom_score", "sze_score", "val_score")

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

ORACLE_SCRIPT = """
import sys
import polars as pl
from toraniko.model import estimate_factor_returns
from toraniko.styles import factor_mom, factor_sze, factor_val
folder = sys.argv[1]
read = lambda name: pl.read_parquet(f"{folder}/{name}.parquet")
write = lambda frame, name: frame.write_parquet(f"{folder}/theirs_{name}.parquet")
write(factor_mom(read("returns"), trailing_days=126).collect(), "mom")
write(factor_sze(read("caps")).collect(), "sze")
write(factor_val(read("ratios")).collect(), "val")
write(factor_val(read("ratios"), winsorize_features=0.05).collect(), "val_winsorized")
for residualize in (True, False):
    returns, residuals = estimate_factor_returns(
        read("returns"), read("caps"), read("sectors"), read("styles"), 0.02, residualize
    )
    write(returns, f"returns_{residualize}")
    write(residuals, f"residuals_{residualize}")
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
def real(tmp_path_factory):
    """The frames of 220 dates of the real file, and toraniko's answers to them."""
    if not DATA.exists():
        pytest.skip("the real data file is not here")
    folder = tmp_path_factory.mktemp("toraniko")
    frame = pl.read_parquet(DATA).with_columns(pl.col("sector").fill_null("Unknown"))
    days = frame["date"].unique().sort().tail(220)
    frame = frame.filter(pl.col("date").is_in(days.implode())).sort("date", "symbol")
    frames = {
        "returns": frame.select("date", "symbol", "asset_returns"),
        "caps": frame.select("date", "symbol", "market_cap"),
        "ratios": frame.select("date", "symbol", pl.col("book_price", "sales_price", "cf_price").cast(pl.Float64)),
        "sectors": frame.select("date", "symbol", "sector").to_dummies("sector"),
    }
    scores = factor_mom(frames["returns"], trailing_days=126).collect()
    scores = scores.join(factor_sze(frames["caps"]).collect(), on=["date", "symbol"])
    scores = scores.join(factor_val(frames["ratios"]).collect(), on=["date", "symbol"])
    frames["styles"] = scores.drop_nulls().drop_nans()
    # Toraniko has no answer where a value is missing, and neither does anyone: such rows stay out.
    frames["returns"] = frames["returns"].drop_nulls()
    for name, data in frames.items():
        data.write_parquet(folder / f"{name}.parquet")
    subprocess.run([ORACLE, "-c", ORACLE_SCRIPT, folder], check=True, capture_output=True)
    return folder, frames


def _compare(ours: pl.DataFrame, theirs: pl.DataFrame, keys: list[str]) -> None:
    assert set(ours.columns) == set(theirs.columns)
    ours, theirs = ours.sort(keys), theirs.select(ours.columns).sort(keys)
    assert ours.select(keys).equals(theirs.select(keys))
    for name in set(ours.columns) - set(keys):
        a, b = (frame[name].cast(pl.Float64).to_numpy() for frame in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("name", ["mom", "sze", "val", "val_winsorized"])
def test_style_scores_on_real_data_agree_with_toraniko(real, name):
    folder, frames = real
    ours = {
        "mom": lambda: factor_mom(pl.read_parquet(folder / "returns.parquet"), trailing_days=126),
        "sze": lambda: factor_sze(frames["caps"]),
        "val": lambda: factor_val(frames["ratios"]),
        "val_winsorized": lambda: factor_val(frames["ratios"], winsorize_features=0.05),
    }[name]().collect()
    theirs = pl.read_parquet(folder / f"theirs_{name}.parquet")
    assert ours[f"{name.partition('_')[0]}_score"].is_finite().sum() > 20_000
    _compare(ours, theirs, ["date", "symbol"])


@pytest.mark.parametrize("residualize", [True, False])
def test_factor_returns_and_residuals_on_real_data_agree_with_toraniko(real, residualize):
    folder, frames = real
    returns, residuals = estimate_factor_returns(
        frames["returns"], frames["caps"], frames["sectors"], frames["styles"], 0.02, residualize
    )
    assert len(returns) > 50
    theirs = pl.read_parquet(folder / f"theirs_returns_{residualize}.parquet")
    assert returns.columns == theirs.columns
    _compare(returns, theirs, ["date"])
    _compare(residuals, pl.read_parquet(folder / f"theirs_residuals_{residualize}.parquet"), ["date"])
