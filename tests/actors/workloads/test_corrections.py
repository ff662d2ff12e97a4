"""Corrections of past days: the model afterwards is, bit for bit, the model of the corrected data."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest
from drawn_models import model_settings
from hypothesis import given
from hypothesis import settings as settings_drawn
from hypothesis import strategies as st

from actors.reading.quality import quality_of
from actors.reading.states import model_of
from actors.workloads.factor_exposure_analysis import FactorExposureAnalysis
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import job_requests as jr
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from contracts.settings import settings
from factors import FactorModel, sample_market
from factors.panel.panel import Panel
from store.damage import check

N_DAYS, N_FIRST = 120, 100


@cache
def market_of_days():
    return Panel.from_frame(sample_market(n_assets=40, n_days=N_DAYS).panel.to_frame())


@pytest.fixture(scope="module")
def panel():
    return market_of_days()


@pytest.fixture
def actors(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path))
    settings.cache_clear()
    made = FactorModelCreation(), FactorExposureAnalysis()
    for actor in made:
        assert actor._ready.wait(120)
    yield made
    settings.cache_clear()


def create(writer, panel):
    first = panel.select(dates=slice(0, N_FIRST)).to_frame()
    writer.create_model(rq.CreateModel(model_id="m", feature_data=encode(first)))
    for row in range(N_FIRST, panel.n_dates):
        append(writer, panel, row)


def append(writer, panel, row):
    day = panel.select(dates=slice(row, row + 1)).to_frame()
    writer.append_day(rq.AppendDay(model_id="m", feature_data=encode(day)))


def correct(writer, rows, **more):
    return writer.correct_days(rq.CorrectDays(model_id="m", feature_data=encode(rows), **more))


def replaced(panel, row, symbol, **values):
    """The panel with other values at one row, and the rows of a table that say so."""
    at = panel.symbols.index(symbol)
    fields = {name: held.copy() for name, held in panel.fields.items()}
    for name, value in values.items():
        fields[name][row, at] = np.nan if value is None else value
    columns = {("asset_returns" if name == "returns" else name): [value] for name, value in values.items()}
    table = pl.DataFrame({"date": [panel.dates[row].item()], "symbol": [symbol], **columns})
    return Panel(panel.dates, panel.symbols, fields, panel.categories), table.with_columns(
        pl.col(pl.Null).cast(pl.Float64)
    )


def differences(stored, fresh):
    """Names of arrays that are not the same bits."""
    one, other = stored.state(), fresh.state()
    groups = ((getattr(one, group), getattr(other, group)) for group in ("day_asset", "day", "latest"))
    return [n for a, b in groups for n in {*a, *b} if not np.array_equal(a[n], b[n], equal_nan=a[n].dtype.kind == "f")]


@pytest.mark.parametrize(
    ("row", "before"),
    [(N_DAYS - 1, N_DAYS - 1), (N_DAYS - 9, N_DAYS - 9), (N_FIRST - 1, 63), (64, 63), (63, 63), (62, 0), (3, 0)],
)
def test_the_model_after_a_correction_is_the_model_of_the_corrected_data(actors, panel, row, before):
    """It goes on from the newest version that ends before the day, else from the newest checkpoint."""
    writer, _ = actors
    refitted = before == 0
    create(writer, panel)
    truth, table = replaced(panel, row, "S0003", returns=0.123, market_cap=7e9, book_price=None)
    answer = correct(writer, table)
    assert answer.values["history_changed_from"] == str(panel.dates[row])
    assert (answer.values["n_rows_changed"], answer.values["refitted"]) == (1, refitted)
    assert answer.values["n_days_computed"] == N_DAYS - before
    assert ("FACTOR_ENGINE_CHECKPOINT_DAYS" in answer.message) is refitted
    version = writer.store.head("m")
    assert version.manifest.since == version.manifest.version == answer.model_version
    stored = model_of(version)
    assert differences(stored, FactorModel(stored.settings).fit(truth)) == []


@pytest.mark.parametrize("given", [(), ("amount", "shares")], ids=["made", "given"])
@pytest.mark.parametrize("row", [N_DAYS - 3, 20])
def test_what_is_made_of_a_corrected_row_follows_it_and_what_was_given_stays(actors, panel, row, given):
    """Traded money and shares are made of raw prices where a table of raw prices does not have them."""
    writer, _ = actors
    fields = {name: panel.fields[name] for name in ("returns", "market_cap", "high", "low", "close", "volume")}
    split = np.full(panel.shape, np.nan)
    split[60, 3] = 2.0
    money = (fields["high"] + fields["low"] + fields["close"]) / 3.0 * fields["volume"]
    both = {"amount": money, "shares": fields["market_cap"] / fields["close"]}
    fields |= {"split_ratio": split} | {name: both[name] for name in given}
    raw = Panel(panel.dates, panel.symbols, fields, panel.categories)
    create(writer, raw)
    change = {"volume": 1234.0, "market_cap": 9e9} | ({"amount": 77.0} if given else {})
    truth, table = replaced(raw, row, "S0003", **change)
    correct(writer, table)
    stored = model_of(writer.store.head("m"))
    fresh = FactorModel(stored.settings).fit(truth)
    for name, values in fresh.panel_.fields.items():
        np.testing.assert_array_equal(stored.panel_.fields[name], values, err_msg=name)
    assert differences(stored, fresh) == []


def test_days_after_a_correction_and_corrections_of_them_go_on_from_it(actors, panel):
    writer, _ = actors
    create(writer, panel.select(dates=slice(0, N_DAYS - 2)))
    truth = panel
    for row in (N_DAYS - 6, N_DAYS - 4, N_DAYS - 8):
        truth, table = replaced(truth, row, "S0005", returns=0.05 + row / 1e4, volume=1234.0)
        assert correct(writer, table).values["refitted"] is False
    for row in (N_DAYS - 2, N_DAYS - 1):
        append(writer, panel, row)
    truth, table = replaced(truth, N_DAYS - 2, "S0005", returns=-0.02)
    assert correct(writer, table).values["refitted"] is False
    stored = model_of(writer.store.head("m"))
    assert differences(stored, FactorModel(stored.settings).fit(truth)) == []


@settings_drawn(max_examples=6, deadline=None)
@given(
    rows=st.lists(st.integers(0, N_DAYS - 1), min_size=1, max_size=4),
    every=st.sampled_from([7, 20, 63]),
    most=st.sampled_from([2, 4, 32]),
    chosen=model_settings(),
)
def test_any_corrections_of_a_model_of_any_settings_give_the_corrected_model(
    tmp_path_factory, rows, every, most, chosen
):
    """And cost no more than the days since, and those between two checkpoints; the store keeps no more than it may."""
    panel = market_of_days()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        patch.setenv("FACTOR_ENGINE_CHECKPOINT_DAYS", str(every))
        patch.setenv("FACTOR_ENGINE_CHECKPOINTS", str(most))
        settings.cache_clear()
        writer = FactorModelCreation()
        assert writer._ready.wait(120)
        settings.cache_clear()
    first = panel.select(dates=slice(0, N_FIRST)).to_frame()
    written = chosen.to_dict()
    writer.create_model(rq.CreateModel(model_id="m", feature_data=encode(first), settings=written))
    for row in range(N_FIRST, N_FIRST + 4):
        append(writer, panel, row)
    truth, n_days, apart = panel.select(dates=slice(0, N_FIRST + 4)), N_FIRST + 4, every
    while n_days // apart > most:
        apart *= 2
    for number, row in enumerate(row % n_days for row in rows):
        truth, table = replaced(truth, row, "S0003", returns=0.05 + number / 1e3, market_cap=7e9)
        answer = correct(writer, table)
        assert answer.values["n_days_computed"] <= n_days - row + apart
        version = writer.store.head("m")
        stored = model_of(version)
        assert differences(stored, FactorModel(stored.settings).fit(truth)) == []
        assert len(version.manifest.checkpoints) <= most
    assert list(check(writer.store.root.parent)) == []


def test_a_checkpoint_that_cannot_be_read_is_passed_over(actors, panel):
    writer, _ = actors
    create(writer, panel.select(dates=slice(0, N_FIRST)))
    (checkpoint,) = writer.store.head("m").manifest.checkpoints
    path = writer.store.head("m").folder / checkpoint.file
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    truth, table = replaced(panel.select(dates=slice(0, N_FIRST)), 80, "S0003", returns=0.02)
    answer = correct(writer, table)
    assert (answer.values["refitted"], answer.values["n_days_computed"]) == (True, N_FIRST)
    assert correct(writer, replaced(truth, 80, "S0003", returns=0.03)[1]).values["n_days_computed"] == N_FIRST - 63


def test_a_model_that_was_fitted_with_other_settings_is_corrected_from_its_own_checkpoints(actors, panel):
    writer, _ = actors
    panel = panel.select(dates=slice(0, N_FIRST))
    create(writer, panel)
    writer.estimate_style_scores(rq.EstimateStyles(model_id="m", trailing_days=30))
    writer.estimate_factor_returns(rq.EstimateReturns(model_id="m", residualize_styles=True))
    truth, table = replaced(panel, 80, "S0003", returns=0.02)
    assert correct(writer, table).values["n_days_computed"] == N_FIRST - 63
    stored = model_of(writer.store.head("m"))
    assert differences(stored, FactorModel(stored.settings).fit(truth)) == []
    restored = writer.restore_version(jr.RestoreVersion(model_id="m"))
    assert correct(writer, table).values["n_days_computed"] == N_FIRST - 63
    assert restored.model_version == writer.store.head("m").manifest.version - 1


def test_what_was_found_in_reading_is_told_once_however_many_days_and_corrections_follow(actors):
    """Of one kind and column there is one finding, as of the whole table; a report does not grow by one a day."""
    writer, _ = actors
    market = sample_market(n_assets=40, n_days=N_DAYS).panel
    days = [str(day) for day in market.dates]
    frame = market.to_frame(names={"returns": "asset_returns"}).with_columns(asset_id=pl.col("symbol"))
    for at, name, before in ((80, "S0003", "OLD3"), (N_FIRST + 2, "S0004", "OLD4")):
        earlier = (pl.col("symbol") == name) & (pl.col("date").cast(pl.String) < days[at])
        frame = frame.with_columns(symbol=pl.when(earlier).then(pl.lit(before)).otherwise("symbol"))
    frame = frame.drop("open", "high", "low", "vwap").rename({"close": "adj_close"})
    sectors = sorted(frame["sector"].drop_nulls().unique())
    halves = {sectors[0]: 0.5, sectors[1]: 0.5}
    frame = frame.with_columns(
        pl.when(pl.col("asset_id") == "S0005")
        .then(halves.get(sector, 0.0))
        .otherwise((pl.col("sector") == sector).cast(pl.Float64))
        .alias(sector)
        for sector in sectors
    ).drop("sector")
    intake = {"sector_encodings": sectors}

    def until(last, first=0):
        return encode(frame.filter(pl.col("date").cast(pl.String).is_in(days[first:last])))

    writer.create_model(rq.CreateModel(model_id="m", feature_data=until(N_FIRST), intake=intake))
    for t in range(N_FIRST, N_DAYS):
        writer.append_day(rq.AppendDay(model_id="m", feature_data=until(t + 1, t)))
    read = ("not_read", "symbol_changed", "sector_memberships")

    def told():
        found = quality_of(writer.store.head("m")).findings
        return {f.kind: (f.n_rows, f.rows, f.note) for f in found if f.kind in read}, len(found)

    whole = FactorModel(model_of(writer.store.head("m")).settings).fit(frame)
    right = {f.kind: (f.n_rows, f.rows, f.note) for f in whole.quality_.findings if f.kind in read}
    assert right.keys() == set(read)
    assert told() == (right, len(whole.quality_.findings))
    for t in (N_DAYS - 2, 70):
        fix = pl.DataFrame({"date": [days[t]], "asset_id": ["S0007"], "symbol": ["S0007"], "asset_returns": [0.05]})
        correct(writer, fix)
        assert told() == (right, len(whole.quality_.findings))


def test_a_repeat_and_a_correction_that_changes_nothing_make_no_version(actors, panel):
    writer, _ = actors
    create(writer, panel)
    _, table = replaced(panel, N_DAYS - 3, "S0003", returns=0.1)
    first = correct(writer, table, request_id="once")
    assert correct(writer, table, request_id="once").model_version == first.model_version
    again = correct(writer, table)
    assert (again.model_version, again.values["n_rows_changed"], again.event) == (first.model_version, 0, False)


@pytest.mark.parametrize("row", [N_DAYS - 3, 70, 5], ids=["since a kept version", "since a checkpoint", "whole"])
def test_a_strict_correction_refuses_its_own_errors_and_none_of_the_days_before(actors, panel, row):
    """Also where more errors lie before than a report keeps rows of."""
    writer, _ = actors
    volume = panel.fields["volume"].copy()
    n_before = row if row < N_FIRST else 100
    volume[:n_before] = -1.0
    create(writer, panel.with_fields(volume=volume))
    number = writer.store.head("m").manifest.version
    _, wrong = replaced(panel, row, "S0003", volume=-5.0)
    with pytest.raises(InvalidInput, match="negative") as caught:
        correct(writer, wrong, intake={"policy": "strict"})
    assert caught.value.rows == [[str(panel.dates[row]), "S0003"]]
    assert writer.store.head("m").manifest.version == number
    _, right = replaced(panel, row, "S0003", volume=5.0)
    assert correct(writer, right, intake={"policy": "strict"}).model_version == number + 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"date": ["2031-01-01"]}, "feature_data.date"),
        ({"symbol": ["NOPE"]}, "feature_data.symbol"),
        ({"nonsense": [1.0]}, "feature_data.nonsense"),
        ({"sector": ["Nowhere"]}, "feature_data.sector"),
        ({"asset_returns": [-2.0]}, "feature_data.asset_returns"),
        ({"available_at": ["2020-01-01"]}, "feature_data.available_at"),
        ({"asset_returns": None}, "feature_data"),
    ],
)
def test_what_cannot_be_corrected_is_refused_and_the_model_stays(actors, panel, change, field):
    writer, _ = actors
    create(writer, panel.select(dates=slice(0, N_FIRST + 1)))
    number = writer.store.head("m").manifest.version
    row = {"date": [str(panel.dates[N_FIRST])], "symbol": ["S0003"], "asset_returns": [0.1], **change}
    with pytest.raises(InvalidInput) as caught:
        correct(writer, pl.DataFrame({name: values for name, values in row.items() if values is not None}))
    assert caught.value.field == field
    assert writer.store.head("m").manifest.version == number


def test_the_quality_of_a_model_is_told_from_the_store(actors, panel):
    writer, reader = actors
    bad, _ = replaced(panel, N_DAYS - 1, "S0003", volume=-5.0)
    create(writer, bad)
    page = reader.model_quality(rq.ModelRef(model_id="m")).body
    assert (page["policy"], page["last_date"]) == ("warn", str(panel.dates[-1]))
    found = {(f["kind"], f["field"]): f for f in page["findings"]}
    assert found["negative_volume", "volume"]["rows"] == [[str(panel.dates[-1]), "S0003"]]
    assert quality_of(writer.store.head("m")) == model_of(writer.store.head("m")).quality_
    assert any("negative" in line for line in reader.model_status(rq.ModelRef(model_id="m")).body["warnings"])
    _, table = replaced(panel, N_DAYS - 1, "S0003", volume=10.0)
    correct(writer, table)
    page = reader.model_quality(rq.ModelRef(model_id="m")).body
    assert not [f for f in page["findings"] if f["kind"] == "negative_volume"]


def over_a_split(panel, row, symbol, ratio):
    """The panel as a vendor has it who adjusts nothing: from a row on the name has other shares, and other prices."""
    at = panel.symbols.index(symbol)
    fields = {name: held.copy() for name, held in panel.fields.items()}
    for name in ("shares", "volume"):
        fields[name][row:, at] *= ratio
    for name in ("open", "high", "low", "close", "vwap"):
        fields[name][row:, at] /= ratio
    return Panel(panel.dates, panel.symbols, fields, panel.categories)


def test_a_day_that_nobody_looks_at_stays_in_the_units_of_those_before_it(actors, panel):
    writer, _ = actors
    raw = over_a_split(panel, 70, "S0003", 3.0)
    create(writer, raw.select(dates=slice(0, N_DAYS - 1)))
    day = raw.select(dates=slice(N_DAYS - 1, N_DAYS)).to_frame()
    writer.append_day(rq.AppendDay(model_id="m", feature_data=encode(day), intake={"policy": "off"}))
    stored, right = model_of(writer.store.head("m")).panel_, FactorModel().fit(raw).panel_
    for name in ("close", "shares", "volume"):
        np.testing.assert_array_equal(stored.fields[name][-1], right.fields[name][-1])


def inferred(writer):
    """The rows of splits that were found."""
    return [
        row
        for finding in quality_of(writer.store.head("m")).findings
        if finding.kind == "split_inferred"
        for row in finding.rows
    ]


@pytest.mark.parametrize("row", [N_DAYS - 1, N_FIRST + 5, 70, 65, 3])
def test_rows_behind_a_split_that_only_the_shares_tell_of_are_corrected_as_they_came(actors, panel, row):
    """The row has the vendor's new shares and prices; what is stored has those of the first day."""
    writer, _ = actors
    raw = over_a_split(panel, 70, "S0003", 3.0)
    create(writer, raw)
    before = inferred(writer)
    assert [day for day, _ in before] == [str(panel.dates[70])]
    close = float(raw.fields["close"][row, 3]) * 1.01
    truth, table = replaced(raw, row, "S0003", close=close, market_cap=close * float(raw.fields["shares"][row, 3]))
    correct(writer, table)
    head = writer.store.head("m")
    stored = model_of(head)
    fresh = FactorModel(stored.settings).fit(truth)
    # What the next day is compared with was divided and multiplied by the ratio: its last bit may be another.
    assert set(differences(stored, fresh)) <= {"door/watch/carried"}
    carried, right = (model.state().latest["door/watch/carried"] for model in (stored, fresh))
    np.testing.assert_allclose(carried, right, rtol=1e-15, atol=0.0)
    assert inferred(writer) == before, "no other split, nor one back, was found"
