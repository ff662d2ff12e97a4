"""Names by their asset_id: symbols change and are used again, and the series stay whole."""

import numpy as np
import polars as pl
import pytest

from actors.live.catching_up import catch_up
from actors.reading.panels import whole_panel
from actors.reading.states import model_of
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from contracts.settings import settings as settings_of_the_engine
from factors import FactorError, FactorModel, Panel
from factors.errors import DuplicateRowError
from factors.live import LiveFactors

DAYS = [str(d) for d in np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]") if np.is_busday(d)]
IDS = [f"B{i:02d}" for i in range(12)]
CHANGE, GONE, AGAIN = 25, 10, 30


def symbol(t, i):
    """FB becomes META on row CHANGE; XYZ goes after row GONE, and another company is called XYZ from row AGAIN on."""
    if i == 0:
        return "FB" if t < CHANGE else "META"
    return "XYZ" if i in (1, 2) else f"N{i:02d}"


def there(t, i):
    return {1: t < GONE, 2: t >= AGAIN}.get(i, True)


def table(ids=True):
    rng = np.random.default_rng(3)
    rows = [
        (day, symbol(t, i), IDS[i], float(rng.standard_normal() * 0.01), 1e9 * (i + 1), "A" if i % 2 else "B")
        for t, day in enumerate(DAYS)
        for i in range(12)
        if there(t, i)
    ]
    names = ["date", "symbol", "asset_id", "asset_returns", "market_cap", "sector"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame if ids else frame.drop("asset_id")


def by_id(model_or_panel):
    panel = model_or_panel if isinstance(model_or_panel, Panel) else model_or_panel.panel_
    category = panel.categories["asset_id"]
    return {category.names[category.codes[:, j].max()]: panel.fields["returns"][:, j] for j in range(panel.n_assets)}


def found(panel):
    return {f.kind: f for f in panel.findings}


def test_a_series_is_that_of_its_id_and_is_called_by_the_newest_symbol():
    frame = table()
    panel = Panel.from_frame(frame)
    assert panel.symbols == ("META", *(f"N{i:02d}" for i in range(3, 12)), "XYZ", "XYZ~B01")
    meta, xyz, old = (panel.fields["returns"][:, panel.symbols.index(n)] for n in ("META", "XYZ", "XYZ~B01"))
    assert np.isfinite(meta).all()
    assert np.isfinite(xyz).tolist() == [t >= AGAIN for t in range(len(DAYS))]
    assert np.isfinite(old).tolist() == [t < GONE for t in range(len(DAYS))]
    mine = frame.filter(pl.col("asset_id") == "B00")
    assert meta.tolist() == mine["asset_returns"].to_list()
    kinds = found(panel)
    assert kinds["symbol_changed"].rows == ((DAYS[CHANGE], "META"),)
    assert kinds["symbol_changed"].note == "FB became META"
    assert kinds["symbol_used_again"].rows == ((DAYS[AGAIN], "XYZ"),)
    assert kinds["symbol_used_again"].note == "XYZ was XYZ~B01, XYZ"
    # Without ids FB ends, META begins, and the two companies are one series.
    plain = Panel.from_frame(table(ids=False))
    assert np.isnan(plain.fields["returns"][CHANGE:, plain.symbols.index("FB")]).all()
    assert np.isfinite(plain.fields["returns"][:, plain.symbols.index("XYZ")]).sum() == GONE + len(DAYS) - AGAIN


@pytest.mark.parametrize("as_type", [str, int, float])
def test_ids_are_labels_of_any_type(as_type):
    frame = table().with_columns(
        pl.col("asset_id").str.slice(1).cast({str: pl.String, int: pl.Int64, float: pl.Float64}[as_type])
    )
    name = {str: "XYZ~01", int: "XYZ~1", float: "XYZ~1"}[as_type]
    assert name in Panel.from_frame(frame).symbols


def test_rows_without_an_id_are_of_their_symbols_one_asset_or_of_the_symbol():
    frame = table().with_columns(
        pl.when(pl.col("symbol").is_in(["N05", "N06"]) & (pl.col("date") < DAYS[5]))
        .then(None)
        .otherwise(pl.col("asset_id"))
        .alias("asset_id")
    )
    frame = frame.with_columns(
        pl.when(pl.col("symbol") == "N06").then(None).otherwise(pl.col("asset_id")).alias("asset_id")
    )
    panel = Panel.from_frame(frame)
    for name in ("N05", "N06"):
        assert np.isfinite(panel.fields["returns"][:, panel.symbols.index(name)]).all()
    unclear = table().with_columns(
        pl.when((pl.col("symbol") == "XYZ") & (pl.col("date") == DAYS[3]))
        .then(None)
        .otherwise(pl.col("asset_id"))
        .alias("asset_id")
    )
    with pytest.raises(FactorError, match="several assets have had its symbol") as caught:
        Panel.from_frame(unclear)
    assert caught.value.rows == ((DAYS[3], "XYZ"),)


def test_two_rows_of_an_asset_on_a_day_are_refused_under_its_id():
    frame = table()
    extra = frame.filter((pl.col("date") == DAYS[2]) & (pl.col("symbol") == "FB")).with_columns(symbol=pl.lit("FB.N"))
    with pytest.raises(DuplicateRowError, match="the same date and asset_id"):
        Panel.from_frame(pl.concat([frame, extra]))


@pytest.mark.parametrize("first", [20, 28, 33])
def test_a_model_that_grows_over_the_changes_is_that_of_the_whole_table(first):
    frame = table()
    whole = FactorModel().fit(frame)
    model = FactorModel().fit(frame.filter(pl.col("date") < DAYS[first]))
    for t in range(first, len(DAYS)):
        model.update(frame.filter(pl.col("date") == DAYS[t]))
    assert set(model.symbols_) == set(whole.symbols_)
    order = [model.symbols_.index(name) for name in whole.symbols_]
    np.testing.assert_array_equal(model.panel_.fields["returns"][:, order], whole.panel_.fields["returns"])
    np.testing.assert_allclose(model.scores_[..., order], whole.scores_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.factor_returns_, whole.factor_returns_, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(model.specific_variance_[order], whole.specific_variance_, rtol=1e-9)
    assert [model._door.ids[i] for i in order] == list(whole._door.ids)
    if first < CHANGE:
        assert f"FB is called META from {DAYS[CHANGE]} on: its asset_id is the same" in model.warnings_
        (note,) = [f.note for f in model.quality_.findings if f.kind == "symbol_changed"]
        assert "FB became META" in note.split("; ")


def test_a_new_id_under_the_symbol_of_a_name_without_one_is_refused_and_the_model_stays():
    frame = table()
    first = frame.filter(pl.col("date") < DAYS[20]).with_columns(
        pl.when(pl.col("symbol") == "N07").then(None).otherwise(pl.col("asset_id")).alias("asset_id")
    )
    day = frame.filter(pl.col("date") == DAYS[20])
    model = FactorModel().fit(first)
    swapped = day.with_columns(
        symbol=pl.when(pl.col("symbol") == "N08").then(pl.lit("N07")).when(pl.col("symbol") == "N07")
        .then(pl.lit("N7X")).otherwise("symbol")
    )  # fmt: skip
    with pytest.raises(FactorError, match="'N07' is another asset's symbol now") as caught:
        model.update(swapped)
    assert caught.value.field == "asset_id"
    model.update(day)  # a name that had no id gets one
    assert model._door.ids[model.symbols_.index("N07")] == "B07"


@pytest.mark.parametrize("first", [12, 22, 40])
def test_a_symbol_that_comes_back_is_told_with_both_of_its_changes(first):
    """N05 is called TMP on rows 20 to 24, and N05 again; B05 is one series, however the days came."""
    away = pl.col("date").is_between(pl.lit(DAYS[20]), pl.lit(DAYS[24])) & (pl.col("asset_id") == "B05")
    frame = table().with_columns(pl.when(away).then(pl.lit("TMP")).otherwise("symbol").alias("symbol"))
    panel = Panel.from_frame(frame)
    assert "TMP" not in panel.symbols
    assert np.isfinite(panel.fields["returns"][:, panel.symbols.index("N05")]).all()
    assert ("TMP", "N05") in panel.former
    changed, again = found(panel)["symbol_changed"], found(panel)["symbol_used_again"]
    assert {(DAYS[20], "N05"), (DAYS[25], "N05"), (DAYS[CHANGE], "META")} == set(changed.rows)
    assert "N05 became TMP; TMP became N05" in changed.note
    assert again.rows == ((DAYS[AGAIN], "XYZ"),)
    model = FactorModel().fit(frame.filter(pl.col("date") < DAYS[first]))
    for day in DAYS[first:]:
        model.update(frame.filter(pl.col("date") == day))
    assert sorted(model.symbols_) == sorted(panel.symbols)
    one, other = by_id(panel), by_id(model)
    assert one.keys() == other.keys()
    for identity, series in one.items():
        np.testing.assert_array_equal(series, other[identity])
    assert "TMP became N05" in {f.kind: f for f in model.quality_.findings}["symbol_changed"].note


def test_two_names_that_swap_their_symbols_swap_them():
    frame = table()
    model = FactorModel().fit(frame.filter(pl.col("date") < DAYS[20]))
    at = [model.symbols_.index(name) for name in ("N08", "N09")]
    day = frame.filter(pl.col("date") == DAYS[20])
    other = {"N08": "N09", "N09": "N08"}
    model.update(day.with_columns(pl.col("symbol").replace(other)))
    assert [model.symbols_[i] for i in at] == ["N09", "N08"]
    returns = dict(day.select("symbol", "asset_returns").iter_rows())
    assert model.panel_.fields["returns"][-1, at].tolist() == [returns["N08"], returns["N09"]]


# -- over the border


@pytest.fixture
def writer(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path))
    settings_of_the_engine.cache_clear()
    actor = FactorModelCreation()
    assert actor._ready.wait(120)
    yield actor
    settings_of_the_engine.cache_clear()


def test_a_stored_model_follows_its_assets_and_is_corrected_by_id(writer):
    frame, first = table(), 20
    kept = encode(frame.filter(pl.col("date") < DAYS[first]))
    writer.create_model(rq.CreateModel(model_id="m", feature_data=kept))
    for t in range(first, len(DAYS)):
        day = encode(frame.filter(pl.col("date") == DAYS[t]))
        made = writer.append_day(rq.AppendDay(model_id="m", feature_data=day))
    head = writer.store.head("m")
    assert {"META", "XYZ", "XYZ~B01"} <= set(head.symbols)
    assert "FB" not in head.column
    assert made.values["n_assets"] == 12
    whole = FactorModel().fit(frame)
    stored = model_of(head)
    assert by_id(stored).keys() == by_id(whole).keys()
    for identity, values in by_id(whole).items():
        np.testing.assert_array_equal(by_id(stored)[identity], values)
    # A row of the time when META was FB, under its id and the symbol of then.
    for when, name, identity in ((5, "FB", "B00"), (3, "XYZ", "B01"), (35, "XYZ", "B02")):
        fix = {"date": [DAYS[when]], "symbol": [name], "asset_id": [identity], "asset_returns": [0.05]}
        done = writer.correct_days(rq.CorrectDays(model_id="m", feature_data=encode(pl.DataFrame(fix))))
        assert done.values["n_rows_changed"] == 1
        assert by_id(model_of(writer.store.head("m")))[identity][when] == 0.05
    fix = {"date": [DAYS[5]], "symbol": ["FB"], "asset_returns": [0.05]}
    with pytest.raises(InvalidInput, match="no symbol 'FB'"):
        writer.correct_days(rq.CorrectDays(model_id="m", feature_data=encode(pl.DataFrame(fix))))


def test_a_running_plan_goes_on_when_its_names_are_called_otherwise(writer):
    frame, first = table(), CHANGE - 1
    kept = encode(frame.filter(pl.col("date") < DAYS[first]))
    writer.create_model(rq.CreateModel(model_id="m", feature_data=kept))
    formulas = {"sum": "sum(returns, 5)", "rank": "rank(returns)"}
    plan = LiveFactors(formulas, whole_panel(writer.store.head("m")))
    assert "FB" in plan.symbols
    for t in range(first, len(DAYS)):  # FB becomes META, and another XYZ is listed
        day = encode(frame.filter(pl.col("date") == DAYS[t]))
        writer.append_day(rq.AppendDay(model_id="m", feature_data=day))
        catch_up(plan, writer.store.head("m"))
    head = writer.store.head("m")
    assert plan.symbols == head.symbols
    anew = LiveFactors(formulas, whole_panel(head))
    np.testing.assert_array_equal(plan.final(), anew.final())
    assert np.isfinite(plan.final()[:, head.column["META"]]).all()
