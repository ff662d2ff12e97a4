"""Toraniko's README case: ten years of 3,000 names, style scores and factor returns, end to end, ours beside theirs.

The README says under a minute for the factor returns, on an Apple M1. Both packages run the same script,
`peers/ten_years.py`, on the same random frames, one after the other. `--ours` leaves theirs out, which needs several
gigabytes and minutes.

    python benchmarks/ten_years.py [--names 3000] [--days 2520] [--ours]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-oracles" / "bin" / "python"
SCRIPT = Path(__file__).parent / "peers" / "ten_years.py"
N_SECTORS, README_S = 11, 60.0


def write_frames(folder: Path, n_dates: int, n_names: int) -> None:
    """Draw a market as toraniko wants it: long frames of returns, caps, one-hot sectors, and ratios to price."""
    rng = np.random.default_rng(0)
    dates = np.datetime64("2014-01-01") + np.arange(n_dates)
    symbols = [f"S{number:05d}" for number in range(n_names)]
    keys = pl.DataFrame({"date": np.repeat(dates, n_names), "symbol": np.tile(symbols, n_dates)})
    returns = 0.02 * rng.standard_normal((n_dates, n_names))
    caps = np.exp(rng.normal(22.0, 1.3, n_names)) * np.cumprod(1.0 + returns, axis=0)
    sector = np.tile(np.arange(n_names) % N_SECTORS, n_dates)
    ratios = {name: rng.lognormal(-1.0, 0.5, n_dates * n_names) for name in ("book_price", "sales_price", "cf_price")}
    frames = {
        "returns": keys.with_columns(asset_returns=returns.ravel()),
        "caps": keys.with_columns(market_cap=caps.ravel()),
        "sectors": keys.with_columns([pl.Series(f"s{k:02d}", (sector == k).astype(float)) for k in range(N_SECTORS)]),
        "values": keys.with_columns([pl.Series(name, column) for name, column in ratios.items()]),
    }
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")


def run(python: str | Path, folder: Path, package: str) -> float:
    """Run the case in a process of its own; gives the seconds of scores and factor returns together."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} if package == "factors" else dict(os.environ)
    done = subprocess.run(
        [python, SCRIPT, folder, package], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    print(f"{package}: scores {told['scores']:.1f} s, factor returns {told['returns']:.1f} s, together "
          f"{told['whole']:.1f} s (cpu {told['cpu']:.1f}), load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    return float(told["whole"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", type=int, default=3000)
    parser.add_argument("--days", type=int, default=2520)
    parser.add_argument("--ours", action="store_true", help="leave toraniko out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_frames(folder, options.days, options.names)
        print(f"{options.days:,} days x {options.names:,} names, {N_SECTORS} sectors, 3 styles", flush=True)
        ours = run(sys.executable, folder, "factors")
        print(f"toraniko's README says under {README_S:.0f} s on an M1; ours takes {ours:.1f} s with the scores")
        if options.ours or not PEER.exists():
            return
        theirs = run(PEER, folder, "toraniko")
        a, b = (pl.read_parquet(folder / f"{name}.parquet").drop("date") for name in ("factors", "toraniko"))
        apart = float(np.nanmax(np.abs(a.select(b.columns).to_numpy() - b.to_numpy())))
        print(f"ours is {theirs / ours:.0f} x as fast; factor returns differ by {apart:.1e} at most")


if __name__ == "__main__":
    main()
