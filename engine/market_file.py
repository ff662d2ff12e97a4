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

from contracts.files import replacing
from engine.errors import StartError
from engine.market import Market
from factors.errors import FactorError
from factors.factor_model.settings import ModelSettings
from factors.panel.dates import parse_dates
from factors.panel.intake import DEFAULT, Intake
from factors.panel.meaning import CLASSIFICATIONS, IDENTITIES, is_numeric, suggestion_for
from factors.panel.tables import read_file, typed

LABELS = frozenset({*CLASSIFICATIONS, *IDENTITIES})
SAMPLE_MODEL, DATA_MODEL = "sample", "main"
READ_BLOCK_BYTES = 2**22
EXAMPLES = 3


def data_market(data: Path, run_dir: Path, model_id: str = DATA_MODEL, settings: Path | None = None) -> Market:
    """Take the market of a Parquet, CSV or Arrow file; it is converted once per run directory.

    Parameters
    ----------
    settings : Path, optional
        Model settings in TOML; their table `intake` says how the file is read.

    Raises
    ------
    StartError
        The file is missing, not readable, lacks a column, or has dates that cannot be read; names it.
    """
    model = _settings(settings)
    require_columns(data, settings)
    given = b"" if settings is None else settings.read_bytes()
    fingerprint = f"data-{_digest(data, given)}"
    path = _folder(run_dir) / f"{fingerprint}.arrow"
    frame = pl.read_ipc_stream(path) if path.exists() else _read(data, model.read_as)
    encodings = None if "sector" in frame.columns or model.intake.sector_encodings else _one_hot(frame, model.read_as)
    _write(path, lambda: frame)
    plain = {} if settings is None else model.to_dict()
    return Market(model_id, fingerprint, str(data), path, _largest(path, model.read_as), encodings, plain)


def require_columns(data: Path, settings: Path | None = None) -> None:
    """Check that a file is there, is a table, and has the columns of a market; reads no rows.

    Raises
    ------
    StartError
        Names the file and what is wrong with it.
    """
    intake = _settings(settings).read_as
    try:
        columns = read_file(data, n_rows=0).columns
    except FactorError as error:
        raise StartError(f"DATA: {error}") from None
    names = {name: column for column, name in intake.names.items()}
    missing = [names[name] for name in ("date", "symbol", "returns", "market_cap") if names[name] not in columns]
    if missing:
        found = {name: suggestion_for(name, [c for c in columns if c not in names.values()]) for name in missing}
        may_be = [f"{other} may be {name}" for name, other in found.items() if other is not None]
        hint = f"; {', '.join(may_be)}: SETTINGS=model.toml can say so in [intake]" if may_be else ""
        raise StartError(f"DATA: {data} lacks {', '.join(missing)}; it has {', '.join(columns)}{hint}")


def _settings(path: Path | None) -> ModelSettings:
    try:
        return ModelSettings() if path is None else ModelSettings.from_toml(path)
    except (FactorError, OSError) as error:
        raise StartError(f"SETTINGS: {error}") from None


def sample(run_dir: Path, model_id: str = SAMPLE_MODEL) -> Market:
    """Take the sample market; it is generated once per run directory and version of the generator."""
    from factors.sample import market as generator

    sources = sorted(Path(generator.__file__).parent.glob("sample*.py"))
    code = b"".join(source.read_bytes() for source in sources)
    fingerprint = f"sample-{hashlib.blake2b(code, digest_size=12).hexdigest()}"
    path = _folder(run_dir) / f"{fingerprint}.arrow"
    _write(path, lambda: generator.sample_market().panel.to_frame())  # noqa: PLW0108  (generated only when missing)
    return Market(model_id, fingerprint, "sample market (factors/sample/market.py)", path, _largest(path))


def _largest(path: Path, intake: Intake = DEFAULT) -> tuple[str, ...]:
    """Give the largest symbols by market cap on the last date."""
    frame = pl.read_ipc_stream(path, columns=[intake.date_col, intake.symbol_col, intake.mkt_cap_col])
    last = frame.filter(pl.col(intake.date_col) == pl.col(intake.date_col).max())
    largest = last.sort(intake.mkt_cap_col, descending=True, nulls_last=True)[intake.symbol_col].head(EXAMPLES)
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
    with replacing(path) as out:
        make().write_ipc_stream(out)


def _digest(path: Path, more: bytes) -> str:
    digest = hashlib.blake2b(more, digest_size=12)
    with path.open("rb") as source:
        while block := source.read(READ_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read(data: Path, intake: Intake) -> pl.DataFrame:
    """Read the file; dates become calendar days, so that what cannot be read is told before anything is started."""
    try:
        frame = typed(read_file(data), intake)
        days = parse_dates(frame[intake.date_col].alias("date"), intake.date_format)
    except FactorError as error:
        raise StartError(f"DATA: {data}: {error}{_how(error)}") from None
    several = intake.intraday == "combine"
    return frame if several else frame.with_columns(days.alias(intake.date_col))


def _how(error: FactorError) -> str:
    return " (SETTINGS=model.toml, table [intake])" if error.field == "date" else ""


def _one_hot(frame: pl.DataFrame, intake: Intake) -> tuple[str, ...] | None:
    """Find one-hot sectors: columns besides the known ones that are 0 or 1, one of them 1 in each row."""
    names = [
        name
        for name, dtype in frame.schema.items()
        if not (is_numeric(intake.names.get(name, name)) or name in LABELS)
        and (dtype.is_numeric() or dtype == pl.Boolean)
        and frame[name].null_count() == 0
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
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--check", action="store_true", help="only look whether the file has the columns of a market")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            require_columns(options.data, options.settings)
            return 0
        if options.data is None:
            market = sample(options.run_dir, options.model or SAMPLE_MODEL)
        else:
            market = data_market(options.data, options.run_dir, options.model or DATA_MODEL, options.settings)
    except (StartError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(asdict(market), default=str))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
