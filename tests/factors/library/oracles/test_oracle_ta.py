"""Technical indicators against TA-Lib, run in the oracle environment by subprocess."""

import os
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from factors.library import compile_library
from factors.library.definitions.agreement import oracles

ROOT = Path(__file__).parents[4]
SCRIPT = ROOT / "tests" / "oracle_scripts" / "talib_indicators.py"
# Rows after the first bar from which values agree; where none is given, from the first value on. TA-Lib speaks two rows
# late where it averages twice, begins both averages of MACD together, seeds those of ADOSC with the first bar, and
# counts the first bar's volume in OBV.
UNSTABLE = {"ta_stoch_k": 8, "ta_stochrsi": 20, "ta_macdhist": 400, "ta_adosc": 200, "ta_obv_z60": 60}

pytestmark = pytest.mark.oracle


def oracle_python():
    python = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
    if not python.exists():
        reason = f"no oracle environment at {python.name}: set FACTOR_ENGINE_ORACLE_PYTHON"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture(scope="module")
def bars():
    """Five names of 1,200 bars: one lists late, one leaves, one pauses for a week and one for a day."""
    rng = np.random.default_rng(5)
    shape = (1200, 5)
    volatility = 0.015 * np.exp(0.4 * rng.standard_normal(shape))
    move = volatility * rng.standard_normal(shape)
    close = 50.0 * np.exp(np.cumsum(move, axis=0))
    opened = np.vstack([close[:1], close[:-1]]) * np.exp(0.3 * volatility * rng.standard_normal(shape))
    high = np.maximum(opened, close) * np.exp(0.4 * volatility * np.abs(rng.standard_normal(shape)))
    low = np.minimum(opened, close) * np.exp(-0.4 * volatility * np.abs(rng.standard_normal(shape)))
    volume = np.round(np.exp(13.0 + 0.5 * rng.standard_normal(shape) + 10.0 * np.abs(move)))
    fields = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    for values in fields.values():
        values[:LISTED, 1] = values[LEFT:, 2] = values[300:305, 3] = values[400, 4] = np.nan
    return fields


LISTED, LEFT = 40, 1000
RETURNED = {3: 305, 4: 401}  # name: the first row after its pause
# TA-Lib knows no pause and begins anew after it. What looks back over a window has forgotten the pause when it has left
# the window; what smooths without end forgets it as its weights do, to 1e-10 in 430 rows.
FORGOTTEN = {False: 60, True: 500}


@pytest.fixture(scope="module")
def theirs(bars, tmp_path_factory):
    folder = tmp_path_factory.mktemp("talib")
    np.savez(folder / "panel.npz", **bars)
    command = [oracle_python(), SCRIPT, folder / "panel.npz", folder / "out.npz"]
    subprocess.run(command, check=True, timeout=120)
    with np.load(folder / "out.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def ours(bars, ids_of, calculate):
    return calculate(ids_of("indicators.toml"), fields=bars)


@pytest.fixture(scope="module")
def recursive(catalogue):
    return compile_library({name: catalogue.entries[name] for name in names()}).recursive


def test_every_indicator_is_compared_and_the_record_says_which_differ_at_the_start(theirs, ours):
    assert set(theirs) == set(ours)
    verdicts = {row.factor: row.verdict for row in oracles()["talib"].agreements}
    assert verdicts == {name: "different" if name in UNSTABLE else "equal" for name in ours}


def names():
    folder = ROOT / "factors" / "library" / "definitions" / "catalogue" / "indicators.toml"
    return [entry["id"] for entry in tomllib.loads(folder.read_text())["factor"]]


@pytest.mark.parametrize("name", names())
def test_indicator_equals_talib(name, bars, theirs, ours, recursive):
    there = np.isfinite(bars["close"])
    first = there.argmax(axis=0)
    rows = np.arange(len(there))[:, None]
    settled = rows >= first + UNSTABLE.get(name, 0)
    for column, back in RETURNED.items():
        wait = max(FORGOTTEN[name in recursive], UNSTABLE.get(name, 0))
        settled[back : back + wait, column] = False
    assert np.isnan(ours[name][~there]).all()
    expected = np.where(settled, theirs[name], np.nan)
    got = np.where(settled, ours[name], np.nan)
    if name == "ta_ht_trendmode":
        expected[~there] = np.nan
        expected[: first.max() + 63] = got[: first.max() + 63]  # TA-Lib's whole numbers have no NaN before the start
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
