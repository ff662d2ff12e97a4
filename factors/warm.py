"""Compile every kernel once per version of the code, behind a progress line: ``python -m factors.warm [--time]``.

numba keeps what it compiled beside the sources (or below NUMBA_CACHE_DIR), so the processes that come after load it in
a second or two. A marker file named after a hash of the sources says that it was done; ``--time`` goes through the
stages all the same and prints how long each takes and how much of it was compiled rather than loaded.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent


def marker() -> Path:
    """Give the file that says that this version is compiled, for this numba, this Python, and sources in this place.

    The place counts because numba files what it compiled under a hash of the sources' path.
    """
    from importlib.metadata import version

    digest = hashlib.sha256(f"{version('numba')} {platform.python_version()} {platform.machine()} {ROOT}".encode())
    for path in sorted(ROOT.rglob("*.py")):
        digest.update(path.read_bytes())
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or ROOT / "__pycache__")
    return folder / f"compiled-{digest.hexdigest()[:16]}"


def seed() -> int:
    """Copy what is compiled beside the sources into NUMBA_CACHE_DIR, if it is of this version; gives how many files.

    numba reads no folder that it cannot write to, so a checkout that somebody else compiled and owns would be compiled
    once more for every run directory.
    """
    root = os.environ.get("NUMBA_CACHE_DIR")
    if not root or not (ROOT / "__pycache__" / marker().name).exists():
        return 0
    from numba.core.caching import _CacheLocator

    copied = 0
    for path in ROOT.rglob("__pycache__/**/*.nb[ic]"):
        inside = path.relative_to(ROOT)
        place = inside.parts.index("__pycache__")
        below = inside.parts[place + 1 :]
        if len(below) == 1:  # numba's own folder for the kernels of one folder of sources
            source = ROOT.joinpath(*inside.parts[:place], "source.py")
            folder: str = _CacheLocator.get_suitable_cache_subpath(str(source))  # type: ignore[no-untyped-call]
            below = (folder, *below)
        kept = Path(root, *below)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
            copied += 1
    return copied


def warm(say: Callable[[str], None], *, again: bool = False) -> None:
    """Compile what is not compiled yet; `say` gets a line per stage. `again` goes through them though all is done."""
    done = marker()
    if done.exists() and not again:
        return
    from numba.core import event

    copied = seed()
    if copied:
        say(f"{copied} files of kernels are taken from beside the sources")
    say("loading" if done.exists() else "compiling (some minutes, once per version)")
    total = 0.0
    for name, stage in (("model", _model), ("posted frames", _frames), ("factor library", _library)):
        began = time.perf_counter()
        with event.install_recorder("numba:compile") as compiled:
            stage()
        took = time.perf_counter() - began
        total += took
        # each compilation is recorded when it begins and when it ends
        say(f"  kernels of the {name}: {took:.1f} s, {len(compiled.buffer) // 2} functions compiled")
    say(f"  all kernels: {total:.1f} s")
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()


def _model() -> None:
    """Fit a tiny market with every style, add a day, and ask for its risk."""
    import numpy as np

    from factors.factor_model.model import FactorModel
    from factors.factor_model.settings import ModelSettings
    from factors.live import LiveDay, LiveRow
    from factors.portfolio.risk import portfolio_risk
    from factors.sample.market import sample_market

    panel = sample_market(n_assets=40, n_days=80).panel
    # One half-life, and then several.
    FactorModel(ModelSettings.use4()).fit(panel)
    model = FactorModel().fit(panel.select(dates=panel.dates[:-1])).update(panel.last(1))
    row = LiveRow.after(panel, panel.dates[-1] + np.timedelta64(1, "D"))
    close = panel.fields["close"][-1]
    row.take(panel.symbols, {"bid": close, "ask": close})
    row.take(panel.symbols, {"price": close})
    row.take(panel.symbols, {"close": close})
    day = LiveDay(model, row.date)
    day.tick(*row.changed())
    day.peek()
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
    """Every operation of the library is compiled into one driver, of which there is one variant."""
    from factors.library.kernels import drive

    drive.ready()


def can_keep() -> bool:
    """Say whether there is a folder for what is compiled: numba loads no kernel without one."""
    folder = marker().parent
    if not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def main(arguments: Sequence[str]) -> None:
    """Warm up, or say why not."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    if can_keep():
        warm(say, again="--time" in arguments)
    else:
        say("the sources' folder cannot be written: a run keeps its kernels in its own directory")


if __name__ == "__main__":
    main(sys.argv[1:])
