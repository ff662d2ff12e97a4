"""Markets from tables: an operator's file, or the sample, as an Arrow stream under the run directory."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from engine.errors import StartError
from engine.market import Market

REQUIRED = ("date", "symbol", "asset_returns", "market_cap")
SAMPLE_MODEL, DATA_MODEL = "sample", "main"
_FIELDS = "sector industry subindustry book_price sales_price cf_price open high low close volume vwap shares benchmark"
KNOWN = frozenset((*REQUIRED, *_FIELDS.split()))  # columns that are never one-hot sectors
READ_BLOCK_BYTES = 2**22
EXAMPLES = 3


def data_market(data: Path, run_dir: Path, model_id: str = DATA_MODEL) -> Market:
    """Take the market of a Parquet, CSV or Arrow file; it is converted once per run directory.

    Raises
    ------
    StartError
        The file is missing, not readable, or lacks a column; names it.
    """
    require_columns(data)
    fingerprint = f"data-{_digest(data)}"
    path = _folder(run_dir) / f"{fingerprint}.arrow"
    frame = pl.read_ipc_stream(path) if path.exists() else _read(data)
    encodings = None if "sector" in frame.columns else _one_hot(frame)
    _write(path, lambda: frame)
    return Market(model_id, fingerprint, str(data), path, _largest(path), encodings)


def require_columns(data: Path) -> None:
    """Check that a file is there, is a table, and has the columns of a market; reads no rows.

    Raises
    ------
    StartError
        Names the file and what is wrong with it.
    """
    if not data.is_file():
        raise StartError(f"DATA: there is no file {data}")
    columns = _read(data, n_rows=0).columns
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise StartError(f"DATA: {data} lacks {', '.join(missing)}; it has {', '.join(columns)}")


def sample(run_dir: Path, model_id: str = SAMPLE_MODEL) -> Market:
    """Take the sample market; it is generated once per run directory and version of the generator."""
    from factors.sample import market as generator

    sources = sorted(Path(generator.__file__).parent.glob("sample*.py"))
    code = b"".join(source.read_bytes() for source in sources)
    fingerprint = f"sample-{hashlib.blake2b(code, digest_size=12).hexdigest()}"
    path = _folder(run_dir) / f"{fingerprint}.arrow"
    _write(path, lambda: generator.sample_market().panel.to_frame())  # noqa: PLW0108  (generated only when missing)
    return Market(model_id, fingerprint, "sample market (factors/sample/market.py)", path, _largest(path))


def _largest(path: Path) -> tuple[str, ...]:
    """Give the largest symbols by market cap on the last date."""
    frame = pl.read_ipc_stream(path, columns=["date", "symbol", "market_cap"])
    last = frame.filter(pl.col("date") == pl.col("date").max())
    largest = last.sort("market_cap", descending=True, nulls_last=True)["symbol"].head(EXAMPLES)
    return tuple(str(symbol) for symbol in largest)


def _folder(run_dir: Path) -> Path:
    folder = run_dir.resolve() / "market"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, make: Callable[[], pl.DataFrame]) -> None:
    """Write the frame unless the file is there, whole or not at all; other markets' files go."""
    if path.exists():
        return
    for old in path.parent.iterdir():
        old.unlink()
    fresh = path.with_suffix(".arrow.tmp")
    make().write_ipc_stream(fresh)
    fresh.replace(path)


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=12)
    with path.open("rb") as source:
        while block := source.read(READ_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read(data: Path, n_rows: int | None = None) -> pl.DataFrame:
    kind = data.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            return pl.read_parquet(data, n_rows=n_rows)
        if kind == ".csv" or data.name.lower().endswith(".csv.gz"):
            return pl.read_csv(data, try_parse_dates=True, infer_schema_length=10_000, n_rows=n_rows)
        if kind in (".arrow", ".arrows", ".ipc", ".feather"):
            with data.open("rb") as source:
                is_file = source.read(6) == b"ARROW1"
            return pl.read_ipc(data, n_rows=n_rows) if is_file else pl.read_ipc_stream(data, n_rows=n_rows)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StartError(f"DATA: {data} is not a readable {kind[1:]} file: {str(error).splitlines()[0]}") from None
    raise StartError(f"DATA: {data} must be .parquet, .csv or .arrow (.ipc, .feather)")


def _one_hot(frame: pl.DataFrame) -> tuple[str, ...] | None:
    """Find one-hot sectors: columns besides the known ones that are 0 or 1, one of them 1 in each row."""
    names = [
        name
        for name, dtype in frame.schema.items()
        if name not in KNOWN and (dtype.is_numeric() or dtype == pl.Boolean) and frame[name].null_count() == 0
    ]
    names = [name for name in names if frame[name].cast(pl.Float64).is_in([0.0, 1.0]).all()]
    if not names:
        return None
    at_most_one = frame.select(pl.sum_horizontal(pl.col(names).cast(pl.Float64)) <= 1.0).to_series().all()
    return tuple(names) if at_most_one else None


def main(arguments: Sequence[str]) -> int:
    """``python -m engine.market_file RUN_DIR``: print the market as JSON, or why there is none."""
    parser = argparse.ArgumentParser(prog="engine.market_file", description=(main.__doc__ or ""))
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--check", action="store_true", help="only look whether the file has the columns of a market")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            require_columns(options.data)
            return 0
        if options.data is None:
            market = sample(options.run_dir, options.model or SAMPLE_MODEL)
        else:
            market = data_market(options.data, options.run_dir, options.model or DATA_MODEL)
    except (StartError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(asdict(market), default=str))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
