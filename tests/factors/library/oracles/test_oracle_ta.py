"""Technical indicators against TA-Lib and, where names pause, a restatement around it; in the oracle environment.

TA-Lib knows no missing row: it is run anew on every stretch, and compared where what came before the pause is
forgotten. The restatement (`talib_pauses.py`) says what an indicator is across a pause, from its sources; it is held to
TA-Lib where TA-Lib can speak, and we are held to it on every cell, the missing ones too.
"""

import tomllib

import numpy as np
import pytest
from oracle_agreement import ROOT, run_oracle

from factors.library import compile_library
from factors.library.definitions.agreement import oracles

# Rows after the first bar from which values agree; where none is given, from the first value on. TA-Lib speaks two rows
# late where it averages twice, begins both averages of MACD together, seeds those of ADOSC with the first bar, and
# counts the first bar's volume in OBV.
UNSTABLE = {"ta_stoch_k": 8, "ta_stochrsi": 20, "ta_macdhist": 400, "ta_adosc": 200, "ta_obv_z60": 60}
# What looks back over a window has forgotten a pause when it has left the window; what smooths without end forgets it
# as its weights do, to 1e-10 in 430 rows. KAMA's pace is the price's, and where that goes nowhere it never forgets.
FORGOTTEN = {False: 60, True: 500}
N_DATES, N_NAMES = 1200, 10
UNFORGETTING = {"ta_kama_30": N_DATES}

pytestmark = pytest.mark.oracle


def names():
    folder = ROOT / "factors" / "library" / "definitions" / "catalogue" / "indicators.toml"
    return [entry["id"] for entry in tomllib.loads(folder.read_text())["factor"]]


@pytest.fixture(scope="module")
def bars():
    """Names that list late, leave, pause for days or months, before their averages have begun and after, and return."""
    rng = np.random.default_rng(5)
    shape = (N_DATES, N_NAMES)
    volatility = 0.015 * np.exp(0.4 * rng.standard_normal(shape))
    move = volatility * rng.standard_normal(shape)
    close = 50.0 * np.exp(np.cumsum(move, axis=0))
    opened = np.vstack([close[:1], close[:-1]]) * np.exp(0.3 * volatility * rng.standard_normal(shape))
    high = np.maximum(opened, close) * np.exp(0.4 * volatility * np.abs(rng.standard_normal(shape)))
    low = np.minimum(opened, close) * np.exp(-0.4 * volatility * np.abs(rng.standard_normal(shape)))
    volume = np.round(np.exp(13.0 + 0.5 * rng.standard_normal(shape) + 10.0 * np.abs(move)))
    fields = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    away = (rng.random(shape) < 0.02) & (np.arange(N_NAMES) >= 8)
    away[:40, 1] = away[1000:, 2] = away[300:305, 3] = away[400, 4] = True
    away[1:3, 5] = away[10:14, 5] = away[30, 5] = away[45:50, 5] = True
    away[:60, 6] = away[200:300, 6] = away[900:, 6] = away[: N_DATES - 50, 7] = away[700:, 9] = True
    for values in fields.values():
        values[away] = np.nan
    return fields


@pytest.fixture(scope="module")
def theirs(bars, tmp_path_factory):
    return run_oracle("talib_indicators.py", [], bars, tmp_path_factory.mktemp("talib"))


@pytest.fixture(scope="module")
def restated(bars, tmp_path_factory):
    return run_oracle("talib_pauses.py", [], bars, tmp_path_factory.mktemp("pauses"))


@pytest.fixture(scope="module")
def ours(bars, ids_of, calculate):
    return calculate(ids_of("indicators.toml"), fields=bars)


@pytest.fixture(scope="module")
def forgotten(catalogue, bars):
    """Give the cells on which an indicator has nothing left of what was before a pause, nor of TA-Lib's own start."""
    recursive = compile_library({name: catalogue.entries[name] for name in names()}).recursive
    there = np.isfinite(bars["close"])
    rows = np.arange(N_DATES)[:, None]
    since = rows - np.maximum.accumulate(np.where(there, 0, rows), axis=0)  # rows since the last missing one
    listed = there.argmax(axis=0)
    paused = (np.cumsum(there, axis=0) < rows - listed + 1) & (rows >= listed)

    def cells(name):
        start = UNSTABLE.get(name, 0)
        wait = UNFORGETTING.get(name, max(FORGOTTEN[name in recursive], start))
        return (rows >= listed + start) & ~(there & paused & (since <= wait))

    return cells


def assert_is_talib(name, values, theirs, cells, there):
    expected, got = np.where(cells, theirs[name], np.nan), np.where(cells, values[name], np.nan)
    if name == "ta_ht_trendmode":  # TA-Lib's whole numbers have no NaN before the start
        early = np.cumsum(there, axis=0) <= 63
        expected[early] = got[early]
        assert np.isnan(got[early]).all()
    assert np.isfinite(got).sum() > 3000
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def test_every_indicator_is_compared_and_the_record_says_which_differ_at_the_start(theirs, restated, ours):
    assert set(theirs) == set(ours) == set(restated)
    verdicts = {row.factor: row.verdict for row in oracles()["talib"].agreements}
    assert verdicts == {name: "different" if name in UNSTABLE else "equal" for name in ours}


@pytest.mark.parametrize("name", names())
def test_indicator_equals_talib(name, bars, theirs, ours, forgotten):
    there = np.isfinite(bars["close"])
    assert np.isnan(ours[name][~there]).all()
    assert_is_talib(name, ours, theirs, forgotten(name), there)


@pytest.mark.parametrize("name", names())
def test_the_restatement_is_talib_where_talib_knows_of_no_pause(name, bars, theirs, restated, forgotten):
    assert_is_talib(name, restated, theirs, forgotten(name), np.isfinite(bars["close"]))


@pytest.mark.parametrize("name", names())
def test_indicator_equals_the_restatement_also_right_after_a_pause(name, ours, restated, forgotten):
    spoken = np.isfinite(restated[name])
    assert spoken.any(axis=0).sum() >= N_NAMES - 2
    assert (spoken & ~forgotten(name)).sum() > 600  # cells that TA-Lib cannot judge
    np.testing.assert_allclose(ours[name], restated[name], rtol=1e-10, atol=1e-10)
