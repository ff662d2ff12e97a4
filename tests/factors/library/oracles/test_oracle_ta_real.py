"""Technical indicators against TA-Lib and its restatement on real bars: the recorded share of cells is equal."""

import numpy as np
import pytest
from fixtures_real import real_panel
from oracle_agreement import equal_share, run_oracle

from factors.library.definitions.agreement import oracles

N_DATES = 700
# Rows after the first bar from which TA-Lib's values are ours: see test_oracle_ta.py.
UNSTABLE = {"ta_stoch_k": 8, "ta_stochrsi": 20, "ta_macdhist": 400, "ta_adosc": 200, "ta_obv_z60": 60}
# Of a relative strength, a phase and a trend that are rounding alone TA-Lib and so the restatement make numbers.
ROUNDING_IS_ALL = {"ta_stochrsi", "ta_ht_dcphase", "ta_ht_sine", "ta_ht_trendmode"}

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def bars():
    """Every 24th name and the ten that list within the last 700 days."""
    panel = real_panel().last(N_DATES)
    late = np.flatnonzero(np.isnan(panel.fields["close"][0]))
    assert len(late) == 10
    chosen = np.union1d(np.arange(0, len(panel.symbols), 24), late)
    return {name: panel.fields[name][:, chosen].copy() for name in ("open", "high", "low", "close", "volume")}


@pytest.fixture(scope="module")
def still(bars):
    """Mark the name whose price stands still on most days."""
    return np.nanmean(np.diff(bars["close"], axis=0) == 0.0, axis=0) > 0.5


@pytest.fixture(scope="module")
def ours(bars, ids_of, calculate):
    return calculate(ids_of("indicators.toml"), fields=bars)


def test_indicators_equal_talib_in_the_recorded_share_of_cells(bars, still, ours, tmp_path):
    theirs = run_oracle("talib_indicators.py", [], bars, tmp_path)
    first = np.isfinite(bars["close"]).argmax(axis=0)
    rows = np.arange(N_DATES)[:, None]
    below, compared = {}, 0
    for row in oracles()["talib"].agreements:
        name = row.factor
        # TA-Lib's whole numbers of the trend mode have no NaN before the start.
        begins = 63 if name == "ta_ht_trendmode" else UNSTABLE.get(name, 0)
        expected = np.where(np.isfinite(theirs[name]), theirs[name], np.nan)
        there = rows >= first + begins
        share = equal_share(ours[name], expected, row, 1e-10, there)
        if share < row.on("real"):
            below[name] = (share, row.on("real"))
        compared += int((np.isfinite(ours[name]) & np.isfinite(expected) & there).sum())
        got, expected = (np.where(there, values, np.nan)[:, ~still] for values in (ours[name], expected))
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10, err_msg=name)
    assert below == {}
    assert compared > 850_000


def test_indicators_equal_the_restatement_on_every_cell_but_those_of_rounding_alone(bars, still, ours, tmp_path):
    restated = run_oracle("talib_pauses.py", [], bars, tmp_path)
    assert still.sum() == 1
    unequal = set()
    for name, values in ours.items():
        np.testing.assert_allclose(values[:, ~still], restated[name][:, ~still], rtol=1e-10, atol=1e-10, err_msg=name)
        if not np.allclose(values[:, still], restated[name][:, still], rtol=1e-10, atol=1e-10, equal_nan=True):
            unequal.add(name)
    assert unequal == ROUNDING_IS_ALL
