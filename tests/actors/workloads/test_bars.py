"""A formula on posted bars of any length: over the actor, beside polars."""

import numpy as np
import polars as pl
import pytest

from actors.workloads.factor_library import FactorLibrary
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from contracts.settings import settings

TWO = {"symbol": ["A", "A"], "close": [1.0, 2.0]}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        settings.cache_clear()
        actor = FactorLibrary()
        assert actor._ready.wait(150)
        assert actor._state == "READY", actor._reason
        yield actor
    settings.cache_clear()


def minutes(n_days=2, n_bars=40, symbols=("B", "A", "C")):
    """A table of minute bars with a night in it, rows in no order."""
    rng = np.random.default_rng(7)
    times = [
        np.datetime64("2024-01-02T09:30", "us") + np.timedelta64(d, "D") + np.timedelta64(i, "m")
        for d in range(n_days) for i in range(n_bars)
    ]  # fmt: skip
    rows = [(str(time), symbol) for time in times for symbol in symbols]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, (len(times), len(symbols))), axis=0)).ravel()
    volume = rng.integers(1, 1000, len(rows)).astype(float)
    table = pl.DataFrame({"ts": [t for t, _ in rows], "symbol": [s for _, s in rows], "close": close, "volume": volume})
    return table.sample(fraction=1.0, shuffle=True, seed=1)


def test_a_formula_on_posted_minute_bars_is_that_of_the_library_and_sessions_begin_anew(library):
    table = minutes()
    asked = {"formula": 'cumsum(close * volume, reset="session") / cumsum(volume, reset="session")'}
    posted = rq.EvaluateFormula(**asked, frame_data=encode(table), time_col="ts", bars=50)
    answer = library.evaluate_formula(posted)
    known = table.with_columns(pl.col("ts").str.to_datetime(time_unit="us")).sort("ts", "symbol")
    money = (pl.col("close") * pl.col("volume")).cum_sum().over("symbol", pl.col("ts").dt.date())
    vwap = known.with_columns(v=money / pl.col("volume").cum_sum().over("symbol", pl.col("ts").dt.date()))
    for symbol in ("A", "B", "C"):
        mine = vwap.filter(symbol=symbol).get_column("v").to_list()
        np.testing.assert_allclose(answer.details["by_symbol"][symbol], mine[-50:], rtol=1e-12)
        assert answer.values[symbol] == answer.details["by_symbol"][symbol][-1]
    assert answer.details["times"][-1] == "2024-01-03T10:09:00"
    assert (answer.details["n_bars"], len(answer.details["times"])) == (80, 50)
    assert answer.model_version is None


def test_windows_on_posted_bars_count_rows_and_ranks_are_across_the_bar(library):
    table = minutes()
    own = {"frame_data": encode(table), "time_col": "ts", "bars": 80}
    answer = library.evaluate_formula(rq.EvaluateFormula(formula="rank(delta(close, 5))", **own))
    wide = table.sort("ts").pivot("symbol", index="ts", values="close").sort("ts").select("A", "B", "C").to_numpy()
    moved = wide[5:] - wide[:-5]
    ranked = (moved[:, :, None] >= moved[:, None, :]).sum(axis=2) / 3
    got = np.array([answer.details["by_symbol"][symbol] for symbol in ("A", "B", "C")], dtype=float).T
    assert np.isnan(got[:5]).all()
    np.testing.assert_allclose(got[5:], ranked)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"time_col": "nothing"}, "frame_data.nothing"),
        ({"formula": "open - close"}, "frame_data"),
        (
            {"frame_data": pl.DataFrame({**TWO, "ts": ["09:31", "x"]})},
            "frame_data.ts",
        ),
        (
            {"frame_data": pl.DataFrame({**TWO, "ts": ["2024-01-02"] * 2})},
            "frame_data",
        ),
        ({"bar_s": 7200.0}, "frame_data"),
    ],
)
def test_a_table_of_bars_that_cannot_be_is_refused_by_name(library, changed, field):
    given = {"formula": "delay(close, 1)", "frame_data": minutes(), "time_col": "ts"} | changed
    request = rq.EvaluateFormula(**{**given, "frame_data": encode(given["frame_data"])})
    with pytest.raises(InvalidInput) as caught:
        library.evaluate_formula(request)
    assert caught.value.field == field


def test_a_table_of_bars_and_a_model_are_not_asked_for_at_once():
    with pytest.raises(ValueError, match="date_requested is of a model's data"):
        rq.EvaluateFormula(formula="close", frame_data=encode(minutes()), date_requested="2024-01-02")


def test_posted_bars_are_read_as_the_intake_says(library):
    rows = {
        "when": ["02/01/2024 09:30", "02/01/2024 09:31", "02/01/2024 09:32"], "ric": ["A"] * 3,
        "px": ["1.0", "NA", "3.0"], "ret": [0.1, 0.2, 0.3],
    }  # fmt: skip
    intake = {"date_format": "%d/%m/%Y %H:%M", "na_values": ["NA"], "columns": {"px": "close"}, "returns_col": "ret"}
    asked = {"formula": "close + returns", "time_col": "when", "symbol_col": "ric", "bars": 3}
    posted = rq.EvaluateFormula(**asked, frame_data=rows, intake=intake)
    answer = library.evaluate_formula(posted)
    assert answer.details["by_symbol"]["A"] == [1.1, None, 3.3]
    assert answer.details["times"][0] == "2024-01-02T09:30:00"


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"na_values": ["-"]}, "frame_data.px", "it holds 'NA'; na_values of the intake"),
        ({"date_format": "%m/%d/%Y"}, "frame_data.when", "not written as date_format"),
        ({"policy": "strict"}, "intake.policy", "does nothing for frame_data"),
        ({"speed": 3}, "intake.speed", "is not a setting"),
    ],
)
def test_bars_that_the_intake_cannot_read_name_the_column(library, change, field, words):
    rows = {"when": ["02/01/2024 09:30"], "ric": ["A"], "px": ["NA"]}
    intake = {"date_format": "%d/%m/%Y %H:%M", "na_values": ["NA"], "columns": {"px": "close"}, **change}
    posted = rq.EvaluateFormula(formula="close", time_col="when", symbol_col="ric", frame_data=rows, intake=intake)
    with pytest.raises(InvalidInput, match=words) as caught:
        library.evaluate_formula(posted)
    assert caught.value.field == field
