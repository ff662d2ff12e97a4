"""What callers send is read by a process with limits of its own; a body that breaks them ends nothing else."""

import asyncio
import io
import os
import signal
import time

import orjson
import polars as pl
import psutil
import pytest

from bus.reader import HERE_BYTES, Reader
from contracts.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    EngineError,
    InvalidInput,
    MalformedBody,
    TableTooLarge,
    Unavailable,
)
from contracts.frames import ARROW_STREAM, PARQUET, decode
from contracts.operations import OPERATIONS
from contracts.settings import Settings, settings

CREATE = OPERATIONS["create_model"]
NAMES = {"date_col": "date", "symbol_col": "symbol"}


@pytest.fixture
def current(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    yield Settings()
    settings.cache_clear()


@pytest.fixture
def reader(current):
    made = Reader(current)
    yield made
    made.close()


def rows(n):
    day = {"asset_returns": 0.01, "market_cap": 1e9}
    return [{"date": "2024-01-02", "symbol": f"S{i:06d}", **day} for i in range(n)]


def read(reader, body, **more):
    return asyncio.run(reader.request(CREATE, body, more.get("below", {}), more.get("above", {}), None, more.get("s")))


def memory_of(reader, name):
    return psutil.Process(getattr(reader, name)._child.pid).memory_info()


def test_a_large_body_is_read_elsewhere_as_a_small_one_is_here(reader):
    small, large = rows(3), rows(3000)
    here = read(reader, orjson.dumps({"model_id": "m", "feature_data": small}))
    body = orjson.dumps({"model_id": "m", "feature_data": large})
    assert len(body) > HERE_BYTES
    there = read(reader, body, below={"symbol_col": "symbol"}, above={"model_id": "m"})
    assert type(here) is type(there)
    assert decode(there.feature_data).height == 3000
    assert reader.stats()["json"] | {"memory_limit_mb": 0} == {
        "memory_limit_mb": 0, "waiting": 0, "started": 1, "read": 1, "refused": 0, "late": 0, "ended": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"model_id": "../x"}, InvalidInput, "model_id"),
        ({"model_id": "other"}, InvalidInput, "model_id"),
        ({"feature_data": [*rows(2000), {"date": ["x"]}]}, InvalidInput, "feature_data.date"),
    ],
)
def test_what_is_wrong_with_a_large_body_is_told_as_of_a_small_one(reader, change, error, field):
    body = orjson.dumps({"model_id": "m", "feature_data": rows(2000), **change})
    with pytest.raises(error) as refused:
        read(reader, body, above={"model_id": "m"} if change.get("model_id") == "other" else {})
    assert refused.value.field == field


def test_many_values_in_few_bytes_are_refused_before_they_are_made(reader):
    body = b'{"model_id": "m", "x": [' + b"[]," * 9_000_000 + b"[]]}"
    with pytest.raises(BodyTooLarge, match=r"18,000,00\d values, over the limit of 5,000,000"):
        read(reader, body)
    assert memory_of(reader, "_heavy").rss < 400e6


def test_many_values_do_not_stop_the_loop_while_they_are_read(reader):
    body = b'{"model_id": "m", "x": [' + b"0.5," * 4_000_000 + b'1], "feature_data": {"date": []}}'

    async def ask():
        ticks = []

        async def tick():
            while True:
                ticks.append(time.monotonic())
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        with pytest.raises(InvalidInput):
            await reader.request(CREATE, body, {}, {}, None, None)
        ticking.cancel()
        return ticks

    ticks = asyncio.run(ask())
    # The reading itself takes many times as long as any pause: the loop went on in the meantime.
    assert len(ticks) > 10


def bulk(reader, tmp_path, frame, kind=ARROW_STREAM, timeout_s=None, **more):
    path = tmp_path / "body.upload"
    if kind == PARQUET:
        frame.write_parquet(path, **more)
    else:
        sink = io.BytesIO()
        frame.write_ipc_stream(sink, **more)
        path.write_bytes(sink.getvalue())
    return path, asyncio.run(reader.table(path, kind, NAMES, timeout_s))


@pytest.mark.parametrize("kind", [ARROW_STREAM, PARQUET])
@pytest.mark.parametrize("inline", [True, False])
def test_a_table_comes_back_plain_in_the_request_or_as_a_file(reader, tmp_path, monkeypatch, kind, inline):
    if not inline:
        monkeypatch.setattr("bus.reader.INLINE_BYTES", 0)
    frame = pl.DataFrame(rows(50)).with_columns(pl.col("symbol").cast(pl.Categorical))
    path, plain = bulk(reader, tmp_path, frame, kind, compression="zstd")
    assert path.with_suffix(".arrow").exists() is not inline
    got = decode(plain)
    assert got.with_columns(pl.col("symbol").cast(pl.String)).equals(pl.DataFrame(rows(50)))


def equal_rows(n):
    repeated = {"date": pl.repeat("2024-01-02", n), "symbol": pl.repeat("A", n), "asset_returns": pl.repeat(0.01, n)}
    return pl.select(**repeated, market_cap=pl.repeat(1e9, n))


@pytest.mark.parametrize("kind", [ARROW_STREAM, PARQUET])
def test_kilobytes_that_stand_for_gigabytes_are_refused_by_their_own_metadata(current, tmp_path, kind):
    n = 4_000_000
    reader = Reader(current.model_copy(update={"table_limit_mb": 100}))
    try:
        with pytest.raises(TableTooLarge, match=r"4,000,000 rows and takes \d+ MB decoded, over the limit of 100 MB"):
            bulk(reader, tmp_path, equal_rows(n), kind, compression="zstd")
        assert (tmp_path / "body.upload").stat().st_size < 200_000
        assert memory_of(reader, "_heavy").rss < 250e6
        assert reader.stats()["tables"]["ended"] == 0
    finally:
        reader.close()


def test_equal_rows_within_the_limit_are_refused_before_they_are_sent_on(reader, tmp_path):
    with pytest.raises(InvalidInput, match="500,000 rows for 1 dates and 1 names: the same date and symbol"):
        bulk(reader, tmp_path, equal_rows(500_000), PARQUET)


def test_a_sparse_table_is_refused_for_the_grid_that_it_spreads_to(reader, tmp_path):
    n = 12_000
    days = pl.date_range(pl.date(1990, 1, 1), pl.date(1990, 1, 1) + pl.duration(days=n - 1), "1d", eager=True)
    frame = pl.DataFrame({"date": days, "symbol": [f"S{i:05d}" for i in range(n)]}).with_columns(
        asset_returns=pl.lit(0.01), market_cap=pl.lit(1e9)
    )
    with pytest.raises(TableTooLarge, match="12,000 dates x 12,000 names x 2 fields") as refused:
        bulk(reader, tmp_path, frame, PARQUET)
    assert "over the limit of 8,000 MB (FACTOR_ENGINE_MODEL_GRID_LIMIT_MB)" in refused.value.detail


def test_a_table_whose_metadata_do_not_tell_is_held_by_the_process_limit(current, tmp_path):
    """Long texts: their length stands nowhere but in the pages."""
    n, text = 1000, "x" * 1_000_000
    frame = pl.DataFrame({"date": ["2024-01-02"] * n, "symbol": [f"{i}{text}" for i in range(200)] * (n // 200)})
    path = tmp_path / "body.upload"
    frame.write_parquet(path, compression="zstd", row_group_size=200)
    assert path.stat().st_size < 1_000_000
    reader = Reader(current.model_copy(update={"table_limit_mb": 100}))
    reader._heavy._memory_mb = 700
    try:
        with pytest.raises(TableTooLarge, match="takes more than the 700 MB that reading it may take"):
            asyncio.run(reader.table(path, PARQUET, NAMES))
        assert reader.stats()["tables"]["ended"] == 1
        # The next body gets a new process.
        assert asyncio.run(reader.table(small_table(tmp_path), PARQUET, NAMES))
        assert reader.stats()["tables"]["started"] == 2
    finally:
        reader.close()


def small_table(tmp_path):
    path = tmp_path / "small.upload"
    pl.DataFrame(rows(5)).write_parquet(path)
    return path


def test_reading_ends_at_the_deadline_and_so_does_the_process_that_reads(reader, tmp_path):
    asyncio.run(reader.table(small_table(tmp_path), PARQUET, NAMES))
    pid = reader._heavy._child.pid
    os.kill(pid, signal.SIGSTOP)  # so that no machine is too fast
    with pytest.raises(DeadlineExceeded):
        asyncio.run(reader.table(small_table(tmp_path), PARQUET, NAMES, 0.2))
    assert not psutil.pid_exists(pid)
    assert asyncio.run(reader.table(small_table(tmp_path), PARQUET, NAMES))


def test_a_process_that_somebody_killed_is_told_as_that_and_started_again(reader, tmp_path):
    asyncio.run(reader.table(small_table(tmp_path), PARQUET, NAMES))
    child = reader._heavy._child
    os.kill(child.pid, 19)
    task = asyncio.to_thread(lambda: (time.sleep(0.3), os.kill(child.pid, 9)))

    async def both():
        await asyncio.gather(task, asyncio.sleep(0))

    async def ask():
        killing = asyncio.create_task(both())
        try:
            with pytest.raises(Unavailable):
                await reader.table(small_table(tmp_path), PARQUET, NAMES)
        finally:
            await killing

    asyncio.run(ask())
    assert asyncio.run(reader.table(small_table(tmp_path), PARQUET, NAMES))


@pytest.mark.parametrize("frame", [pl.DataFrame({"a": [[1], [2]]}), pl.DataFrame({"a": [{"b": 1}]})])
def test_a_column_of_lists_or_structures_is_no_column_of_a_table(reader, tmp_path, frame):
    with pytest.raises(InvalidInput, match="tables hold plain values"):
        bulk(reader, tmp_path, frame)


def test_mutated_bodies_are_refused_or_read_and_never_end_the_process(reader, tmp_path):
    import random

    draw, refused = random.Random(7), []
    sink = io.BytesIO()
    pl.DataFrame(rows(20)).write_ipc_stream(sink, compression="zstd")
    parquet = io.BytesIO()
    pl.DataFrame(rows(20)).write_parquet(parquet)
    for whole, kind in ((sink.getvalue(), ARROW_STREAM), (parquet.getvalue(), PARQUET)):
        for _ in range(60):
            body = bytearray(whole)
            for _ in range(draw.randint(1, 6)):
                body[draw.randrange(len(body))] = draw.randrange(256)
            path = tmp_path / "mutated.upload"
            path.write_bytes(body)
            try:
                asyncio.run(reader.table(path, kind, NAMES, 20.0))
            except EngineError as error:
                refused.append(error.status)
    assert len(refused) > 60, "most are refused"
    assert set(refused) <= {400, 413, 415, 422}
    assert reader.stats()["tables"]["started"] == 1


def test_the_process_ends_with_its_parent(tmp_path):
    import subprocess
    import sys

    code = (
        "import time\nfrom bus.reader import Reader\nfrom contracts.settings import Settings\n"
        "reader = Reader(Settings())\nprint(reader._light.start().pid, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        try:
            pid = int(parent.stdout.readline())
        finally:
            parent.kill()
    deadline = time.monotonic() + 20.0
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("body", [b"{", b'{"a": NaN', b"[" * 100_000])
def test_text_that_is_no_json_is_told(reader, body):
    with pytest.raises(MalformedBody):
        read(reader, body)
