"""The table that a recompute reads is read as any other: dates by the intake, texts as texts, names by their ids."""

import numpy as np
import polars as pl
import pytest

from contracts.errors import InvalidInput
from factors import ModelSettings, Panel
from factors.factor_model.recipe import Recipe
from jobs.source import BLOCK_DAYS, TableSource
from store.bucket import Bucket

DAYS = [d for d in np.arange("2024-01-02", "2024-06-01", dtype="datetime64[D]") if np.is_busday(d)]


def table(written, symbol=lambda t, i: f"00{i}"):
    rng = np.random.default_rng(1)
    rows = [
        (written(day), symbol(t, i), f"B{i}", float(rng.standard_normal() * 0.01), 1e9 * (i + 1), str(i % 2))
        for t, day in enumerate(DAYS)
        for i in range(4)
    ]
    names = ["date", "symbol", "asset_id", "asset_returns", "market_cap", "sector"]
    return pl.DataFrame(rows, schema=names, orient="row")


def source(path, **intake):
    return TableSource(str(path), ModelSettings().to_dict() | {"intake": intake}, Recipe())


def american(day):
    text = str(day)
    return f"{text[5:7]}/{text[8:]}/{text[:4]}"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("written", "intake"),
    [
        (str, {}),
        (lambda day: str(day).replace("-", ""), {}),
        (lambda day: f"{day}T16:00:00", {}),
        (american, {"date_format": "%m/%d/%Y"}),
    ],
)
def test_it_gives_the_panel_of_the_whole_table_block_by_block(tmp_path, kind, written, intake):
    frame = table(written).drop("asset_id")
    path = tmp_path / f"t.{kind}"
    getattr(frame, f"write_{kind}")(path)
    assert len(DAYS) > BLOCK_DAYS
    read, whole = source(path, **intake), Panel.from_frame(table(str).drop("asset_id"))
    assert read.symbols == whole.symbols == ("000", "001", "002", "003")
    parts = [read.panel(slice(0, 50)), read.panel(slice(50, len(DAYS)))]
    for name in ("returns", "market_cap"):
        np.testing.assert_array_equal(np.concatenate([p.fields[name] for p in parts]), whole.fields[name])
    assert parts[0].categories["sector"].names == ("0", "1")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_dates_that_could_be_read_two_ways_are_refused_without_a_format(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    getattr(table(american), f"write_{kind}")(path)
    with pytest.raises(InvalidInput, match="date_format of the intake"):
        source(path)


def test_a_name_is_its_asset_through_all_blocks(tmp_path):
    path = tmp_path / "t.csv"
    frame = table(str, lambda t, i: "OLD" if i == 0 and t < 70 else f"00{i}")
    frame.write_csv(path)
    read = source(path)
    assert read.symbols == ("000", "001", "002", "003")
    assert np.isfinite(read.panel(slice(0, len(DAYS))).fields["returns"]).all()


def test_a_table_of_an_object_store_is_read_and_one_that_is_not_there_is_named(s3, tmp_path, live_market):
    live_market.to_frame().write_parquet(tmp_path / "market.parquet")
    Bucket("s3://store").put("lake/market.parquet", tmp_path / "market.parquet")
    for uri in ("s3://store/lake/market.parquet", "s3://store/lake/"):
        source = TableSource(uri, {}, ())
        assert len(source.dates) == len(live_market.dates)
        assert set(source.symbols) == set(live_market.symbols)
    for uri in ("s3://store/nothing.parquet", "s3://no-such-bucket/market.parquet"):
        with pytest.raises(InvalidInput, match=f"{uri} cannot be read") as told:
            TableSource(uri, {}, ())
        assert told.value.field == "data"
