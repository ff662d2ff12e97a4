"""Bodies of some kilobytes that would take gigabytes, or seconds of everybody's, if they were believed."""

from __future__ import annotations

import io
import struct

import orjson
import polars as pl
from parquet_by_hand import constant, nested, parquet

from contracts.frames import ARROW_STREAM, END_OF_STREAM, PARQUET

N = 12_000
JSON = "application/json"
WHAT = (
    "sparse features", "sparse returns for momentum", "sparse returns for styles", "equal rows in Parquet",
    "deep structures in Parquet", "zeros in compressed Arrow", "millions of empty lists", "deep lists", "a key twice",
    "weights without a sum",
)  # fmt: skip
"""What the bodies are, in their order."""


def _days() -> list[str]:
    last = pl.date(1990, 1, 1) + pl.duration(days=N - 1)
    return pl.date_range(pl.date(1990, 1, 1), last, "1d", eager=True).cast(pl.String).to_list()


def sparse_table() -> dict[str, list]:
    """Make 12,000 dates x 12,000 names, one row each."""
    table = {"date": _days(), "symbol": [f"S{i:05d}" for i in range(N)]}
    return {**table, "asset_returns": [0.01] * N, "market_cap": [1e9] * N}


def parquet_of_equal_rows(n_groups: int = 36) -> bytes:
    """Make 60 million rows that are all the same, said once a group, in less than 9.7 kB."""
    n = 60_000_000 // n_groups
    texts = [constant("date", "2024-01-02", n), constant("symbol", "A", n)]
    return parquet([*texts, constant("asset_returns", 0.01, n), constant("market_cap", 1e9, n)], n, n_groups=n_groups)


def arrow_of_zeros(n_batches: int = 200, n_rows: int = 1_000_000) -> bytes:
    """Make a compressed stream of one batch of zeros, again and again."""
    sink = io.BytesIO()
    frame = pl.select(asset_returns=pl.repeat(0.0, n_rows), market_cap=pl.repeat(0.0, n_rows))
    frame.write_ipc_stream(sink, compression="zstd")
    whole = sink.getvalue()
    (size,) = struct.unpack_from("<i", whole, 4)
    schema, batch = whole[: 8 + size], whole[8 + size :].removesuffix(END_OF_STREAM)
    return schema + batch * n_batches + END_OF_STREAM


def bodies() -> list[tuple[str, str, str, bytes, tuple[int, ...]]]:
    """Give each: method, path, content type, body, and the statuses that are right answers."""
    sparse = sparse_table()
    create = orjson.dumps({"model_id": "hostile", "feature_data": sparse})
    momentum = orjson.dumps({"returns_data": {name: sparse[name] for name in ("date", "symbol", "asset_returns")}})
    bulk = "/factor-model/hostile/data"
    return [
        ("POST", "/factor-model/create", JSON, create, (413,)),
        ("POST", "/individual-factors/momentum", JSON, momentum, (413,)),
        ("POST", "/style-factors/calculate", JSON, momentum, (413,)),
        ("PUT", bulk, PARQUET, parquet_of_equal_rows(), (413,)),
        ("PUT", bulk, PARQUET, nested(1200), (422,)),
        ("PUT", bulk, ARROW_STREAM, arrow_of_zeros(400), (413,)),
        ("POST", "/factor-model/create", JSON, b'{"x": [' + b"[]," * 9_000_000 + b"[]]}", (413,)),
        ("POST", "/factor-exposures/calculate", JSON, b"[" * 100_000, (400,)),
        ("POST", "/factor-exposures/calculate", JSON, b'{"portfolio_weights": {"A": 1, "A": 2}}', (400,)),
        ("POST", "/factor-exposures/calculate", JSON, b'{"portfolio_weights": {"A": 1e308, "B": 1e308}}', (422,)),
    ]
