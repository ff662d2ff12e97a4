"""Parquet of some kilobytes that no writer makes: what it stands for is held to the same limits, on any reader."""

import asyncio
import io

import numpy as np
import polars as pl
import pytest
from parquet_by_hand import constant, growing, nested, parquet

from bus.reader import Reader
from contracts.errors import InvalidInput, MalformedBody, TableTooLarge
from contracts.frames import PARQUET
from contracts.settings import Settings, settings

NAMES = {"date_col": "date", "symbol_col": "symbol"}
SMALL_BYTES = 9_700
"""The body that took 40 s of everybody's was of so many."""


@pytest.fixture
def reader(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    made = Reader(Settings(table_limit_mb=200))
    yield made
    made.close()
    settings.cache_clear()


@pytest.fixture
def standing(tmp_path, monkeypatch):
    """Give a reader with the limits that stand where nothing is set."""
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    made = Reader(Settings())
    yield made
    made.close()
    settings.cache_clear()


def said_once(n):
    """Give columns of one value each, said once for all rows."""
    texts = [constant("date", "2024-01-02", n), constant("symbol", "A", n)]
    return [*texts, constant("asset_returns", 0.01, n), constant("market_cap", 1e9, n)]


def read(reader, tmp_path, body):
    path = tmp_path / "body.upload"
    path.write_bytes(body)
    return asyncio.run(reader.table(path, PARQUET, NAMES))


def test_what_is_written_by_hand_is_parquet():
    frame = pl.read_parquet(io.BytesIO(parquet(said_once(1000), 1000, n_groups=3)))
    assert frame.height == 3000
    assert frame.unique().to_dicts() == [
        {"date": "2024-01-02", "symbol": "A", "asset_returns": 0.01, "market_cap": 1e9}
    ]
    texts = pl.read_parquet(io.BytesIO(parquet([growing("symbol", 1000)], 1000)))["symbol"].to_list()
    assert texts == ["x" * (n + 1) for n in range(1000)]


@pytest.mark.parametrize(("n_rows", "n_groups"), [(83_000_000, 1), (830_000, 100)])
def test_rows_that_are_said_once_are_counted_before_they_are_decoded(reader, tmp_path, n_rows, n_groups):
    body = parquet(said_once(n_rows), n_rows, n_groups=n_groups)
    assert len(body) < 2 * SMALL_BYTES
    with pytest.raises(TableTooLarge, match="83,000,000 rows and takes 3,984 MB decoded, over the limit of 200 MB"):
        read(reader, tmp_path, body)
    assert reader.stats()["tables"]["ended"] == 0


def test_rows_said_once_within_the_limit_are_refused_before_they_are_sent_on(reader, tmp_path):
    n = 4_000_000
    with pytest.raises(InvalidInput, match="4,000,000 rows for 1 dates and 1 names"):
        read(reader, tmp_path, parquet(said_once(n), n))


def test_a_footer_that_tells_fewer_rows_than_there_are_has_no_more_of_them_decoded(reader, tmp_path):
    body = parquet(said_once(300_000_000), 300_000_000, told_rows=1)
    assert read(reader, tmp_path, body)
    assert reader.stats()["tables"]["ended"] == 0


def test_texts_that_grow_out_of_the_ones_before_them_are_refused_for_what_they_are_decoded(reader, tmp_path):
    n = 30_000
    with pytest.raises(TableTooLarge, match="30,000 rows and takes 450 MB decoded, over the limit of 200 MB"):
        read(reader, tmp_path, parquet([growing("symbol", n)], n))
    assert reader.stats()["tables"]["ended"] == 0


def test_texts_that_grow_beyond_what_reading_may_take_end_the_process_and_the_next_body_is_read(reader, tmp_path):
    n = 50_000
    reader._heavy._memory_mb = 700
    with pytest.raises(TableTooLarge, match="takes more than the 700 MB that reading it may take"):
        read(reader, tmp_path, parquet([growing("symbol", n)], n))
    assert reader.stats()["tables"]["ended"] == 1
    assert read(reader, tmp_path, parquet(said_once(1), 1))


@pytest.mark.parametrize(("n_rows", "n_groups"), [(82_000_000, 1), (820_000, 100)])
def test_some_kilobytes_may_not_stand_for_all_the_memory_that_tables_may_take(standing, tmp_path, n_rows, n_groups):
    """Within the limit on tables they cost 3 s and 4 GB: hardly anything in rows that differ from each other."""
    body = parquet(said_once(n_rows), n_rows, n_groups=n_groups)
    assert len(body) < 2 * SMALL_BYTES
    with pytest.raises(
        TableTooLarge, match=rf"takes 3,936 MB decoded, over the \d+ MB that a body of {len(body):,} bytes"
    ):
        read(standing, tmp_path, body)
    assert standing.stats()["tables"]["ended"] == 0


def test_reading_takes_no_more_memory_than_the_body_may_stand_for(standing, tmp_path):
    """What texts grow out of, no metadata tell: 4 GB here, of a body that takes a page."""
    n = 90_000
    with pytest.raises(TableTooLarge, match=r"takes more than the 1,1\d\d MB that reading it may take"):
        read(standing, tmp_path, parquet([growing("symbol", n)], n))
    assert standing.stats()["tables"]["ended"] == 1
    # The memory that the next body may take is its own.
    rng = np.random.default_rng(0)
    large = pl.DataFrame(
        {"date": ["2024-01-02"] * 10**6, "symbol": [str(i) for i in range(10**6)], "x": rng.random(10**6)}
    )
    large.write_parquet(tmp_path / "large.upload")
    assert asyncio.run(standing.table(tmp_path / "large.upload", PARQUET, NAMES))


@pytest.mark.parametrize("depth", [1, 100, 400, 1200])
def test_structures_in_structures_are_no_column_however_deep(reader, tmp_path, depth):
    with pytest.raises(InvalidInput, match="column 'a' is of Struct; tables hold plain values"):
        read(reader, tmp_path, nested(depth))
    assert reader.stats()["tables"]["ended"] == 0


def test_a_body_that_ends_the_process_that_reads_it_is_the_callers_fault_and_the_next_one_is_read(reader, tmp_path):
    with pytest.raises(MalformedBody, match="ends the process that reads it"):
        read(reader, tmp_path, nested(20_000))
    assert reader.stats()["tables"]["ended"] == 1
    assert read(reader, tmp_path, parquet(said_once(1), 1))
