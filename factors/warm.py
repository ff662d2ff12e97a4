"""Compile every kernel once per version of the code, behind a progress line: ``python -m factors.warm [--time]``.

numba keeps what it compiled beside the sources (or below NUMBA_CACHE_DIR), so the processes that come after load it in
a second or two. A marker file named after a hash of the sources says that it was done; ``--time`` goes through the
stages all the same and prints how long each takes and how much of it was compiled rather than loaded. Without it they
run in a process each, as many at once as there are processors.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).parent
STAGES = {"model": "_model", "posted frames": "_frames", "factor library": "_library"}
APART = (("model", "posted frames"), ("factor library",))
"""What has no kernel in common, and may be compiled at the same time."""


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


def warm(say: Callable[[str], None], *, again: bool = False, processes: bool = False) -> None:
    """Compile what is not compiled yet; `say` gets a line per stage.

    `again` goes through the stages though all is done, `processes` runs them beside each other.
    """
    done = marker()
    if done.exists() and not again:
        return
    copied = seed()
    if copied:
        say(f"{copied} files of kernels are taken from beside the sources")
    say("loading" if done.exists() else "compiling (some minutes, once per version)")
    began = time.perf_counter()
    for line in _beside_each_other() if processes else map(_stage, STAGES):
        say(f"  kernels of the {line}")
    say(f"  all kernels: {time.perf_counter() - began:.1f} s")
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()


def _stage(name: str) -> str:
    """Run a stage here; gives the line that tells of it."""
    from numba.core import event

    began = time.perf_counter()
    with event.install_recorder("numba:compile") as compiled:
        globals()[STAGES[name]]()
    # each compilation is recorded when it begins and when it ends
    return f"{name}: {time.perf_counter() - began:.1f} s, {len(compiled.buffer) // 2} functions compiled"


def _beside_each_other() -> Iterator[str]:
    """Run the stages in processes of their own: the compiler keeps one processor busy, however many there are."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for made in as_completed([pool.submit(_in_a_process, names) for names in APART]):
            yield from made.result()


def _in_a_process(names: Sequence[str]) -> list[str]:
    words = [sys.executable, "-m", "factors.warm", "--stages", *names]
    with tempfile.TemporaryFile("w+") as said:
        # The child reads the end of its input when this process ends, in whatever way.
        with subprocess.Popen(
            words, cwd=ROOT.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        ) as child:
            assert child.stdout is not None
            told = child.stdout.read().splitlines()
        if child.returncode:
            said.seek(0)
            reason = said.read().strip()
            raise RuntimeError(f"the kernels of the {' and the '.join(names)} cannot be compiled: {reason}")
    return told


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _model() -> None:
    """Fit a tiny market with every style, add a day, and ask for its risk."""
    import numpy as np

    from factors.factor_model.model import FactorModel
    from factors.factor_model.settings import ModelSettings
    from factors.live import LiveDay, LiveRow
    from factors.panel.statements import Statements, counted
    from factors.portfolio.risk import portfolio_risk
    from factors.sample.market import sample_market

    panel = sample_market(n_assets=40, n_days=80).panel
    counted(panel.with_fields(available_day=np.full(panel.shape, np.nan)), Statements(), None)
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

    if "--stages" in arguments:
        threading.Thread(target=_end_with_the_parent, daemon=True).start()
        for name in arguments[arguments.index("--stages") + 1 :]:
            print(_stage(name), flush=True)  # noqa: T201
    elif can_keep():
        warm(say, again="--time" in arguments, processes="--time" not in arguments)
    else:
        say("the sources' folder cannot be written: a run keeps its kernels in its own directory")


if __name__ == "__main__":
    main(sys.argv[1:])
