"""Corrections of past days: the model afterwards is, bit for bit, the model of the corrected data."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from actors.reading.quality import quality_of
from actors.reading.states import model_of
from actors.workloads.factor_exposure_analysis import FactorExposureAnalysis
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from contracts.settings import settings
from factors import FactorModel, sample_market
from factors.panel.panel import Panel

N_DAYS, N_FIRST = 120, 100


@pytest.fixture(scope="module")
def panel():
    return Panel.from_frame(sample_market(n_assets=40, n_days=N_DAYS).panel.to_frame())


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
    ("row", "refitted"), [(N_DAYS - 1, False), (N_DAYS - 2, False), (N_DAYS - 9, False), (N_FIRST - 1, True), (3, True)]
)
def test_the_model_after_a_correction_is_the_model_of_the_corrected_data(actors, panel, row, refitted):
    writer, _ = actors
    create(writer, panel)
    truth, table = replaced(panel, row, "S0003", returns=0.123, market_cap=7e9, book_price=None)
    answer = correct(writer, table)
    assert answer.values["history_changed_from"] == str(panel.dates[row])
    assert (answer.values["n_rows_changed"], answer.values["refitted"]) == (1, refitted)
    assert answer.values["n_days_computed"] == (N_DAYS if refitted else N_DAYS - row)
    assert ("FACTOR_ENGINE_KEEP_VERSIONS" in answer.message) is refitted
    version = writer.store.head("m")
    assert version.manifest.since == version.manifest.version == answer.model_version
    stored = model_of(version)
    assert differences(stored, FactorModel(stored.settings).fit(truth)) == []


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


def test_a_repeat_and_a_correction_that_changes_nothing_make_no_version(actors, panel):
    writer, _ = actors
    create(writer, panel)
    _, table = replaced(panel, N_DAYS - 3, "S0003", returns=0.1)
    first = correct(writer, table, request_id="once")
    assert correct(writer, table, request_id="once").model_version == first.model_version
    again = correct(writer, table)
    assert (again.model_version, again.values["n_rows_changed"], again.event) == (first.model_version, 0, False)


@pytest.mark.parametrize("row", [N_DAYS - 3, 5], ids=["since a kept version", "whole"])
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
