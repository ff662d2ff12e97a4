"""Compile every kernel once per version of the code, behind a progress line: ``python -m factors.warm``.

numba keeps what it compiled beside the sources (or below NUMBA_CACHE_DIR), so the processes that come after load it in
a second or two. A marker file named after a hash of the sources says that it was done.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent


def marker() -> Path:
    """Give the file that says that this version's kernels are compiled, for this numba and Python."""
    from importlib.metadata import version

    digest = hashlib.sha256(f"{version('numba')} {platform.python_version()} {platform.machine()}".encode())
    for path in sorted(ROOT.rglob("*.py")):
        digest.update(path.read_bytes())
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or ROOT / "__pycache__")
    return folder / f"compiled-{digest.hexdigest()[:16]}"


def warm(say: Callable[[str], None]) -> None:
    """Compile what is not compiled yet; `say` gets a line per stage."""
    done = marker()
    if done.exists():
        return
    say("compiling the kernels of the model and the factor library (some minutes, once per version)")
    for name, stage in (("model", _model), ("posted frames", _frames), ("factor library", _library)):
        began = time.perf_counter()
        stage()
        say(f"  {name}: {time.perf_counter() - began:.0f} s")
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()


def _model() -> None:
    """Fit a tiny market with every style, add a day, and ask for its risk."""
    from factors.factor_model import FactorModel
    from factors.portfolio import portfolio_risk
    from factors.sample import sample_market

    panel = sample_market(n_assets=40, n_days=80).panel
    model = FactorModel().fit(panel.select(dates=panel.dates[:-1])).update(panel.last(1))
    found = model.latest()
    portfolio_risk(
        found.covered[None, :] / found.covered.sum(), found.exposures, found.factor_covariance, found.specific_variance
    )


def _frames() -> None:
    """Run toraniko's workflow on tiny frames."""
    import numpy as np
    import polars as pl

    from factors.model import estimate_factor_returns
    from factors.styles import factor_mom, factor_sze

    rng = np.random.default_rng(0)
    days, names = [f"2020-01-{d:02d}" for d in range(1, 29)], list("ABCDEFGHIJKL")
    keys = {"date": [d for d in days for _ in names], "symbol": names * len(days)}
    base = pl.DataFrame(keys).with_columns(pl.col("date").str.to_date())
    size = base.height
    returns = base.with_columns(asset_returns=pl.Series(rng.standard_normal(size) * 0.01))
    caps = base.with_columns(market_cap=pl.Series(np.exp(rng.standard_normal(size))))
    first = np.tile(np.arange(len(names)) < len(names) // 2, len(days))
    sectors = base.with_columns(S1=pl.Series(first.astype(float)), S2=pl.Series((~first).astype(float)))
    scores = base.with_columns(score=pl.Series(rng.standard_normal(size)))
    factor_mom(returns, trailing_days=10, half_life=5, lag=2).collect()
    factor_sze(caps).collect()
    estimate_factor_returns(returns, caps, sectors, scores)


def _library() -> None:
    """Run one formula: every operation of the library is compiled into one driver."""
    import numpy as np

    from factors.library import compile_library

    dates = np.array(["2020-01-02", "2020-01-03"], "datetime64[D]")
    for threads in (1, 2):
        stream = compile_library({"warm": "rank(close)"}).stream(4, threads=threads)
        stream.warm({"close": np.ones((2, 4))}, {}, dates)
        stream.close()


if __name__ == "__main__":
    warm(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
