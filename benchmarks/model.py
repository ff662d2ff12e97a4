"""The factor model against toraniko and skfolio, and against itself, in one run.

    python benchmarks/model.py [--quick]

Peers run in the oracle environment (`make oracles`) on the same data; answers are compared before times are. Each of
our figures is the best of several after a first call that compiles. Ratios are what counts.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from factors import FactorModel, ModelSettings, Panel, sample_market
from factors.factor_model.settings import RegressionSettings, StyleSettings
from factors.model import estimate_factor_returns
from factors.panel.intake import Intake, Policy
from factors.returns.regression import CrossSectionalRegression
from factors.styles import factor_mom

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-oracles" / "bin" / "python"
N_ASSETS, N_SECTORS, N_STYLES = 3000, 11, 3
POLICIES: tuple[Policy, ...] = ("warn", "off")
BIG_MOMENTUM = """
import resource, time
from benchmarks.model import momentum_frame
from factors.styles import factor_mom
frame = momentum_frame(2520, 3000)
factor_mom(frame.head(3000 * 10), trailing_days=5, lag=1).collect()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
factor_mom(frame, trailing_days=252).collect()
print(time.perf_counter() - start, before / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several calls, after one that warms up."""
    work()
    return min(timed(work) for _ in range(repeats))


def arrays(n_dates: int, n_assets: int = N_ASSETS) -> dict[str, np.ndarray]:
    """Random cross-sections: returns, caps, sector codes, styles."""
    rng = np.random.default_rng(0)
    codes = np.broadcast_to((np.arange(n_assets) % N_SECTORS).astype(np.int16), (n_dates, n_assets))
    return {
        "returns": 0.02 * rng.standard_normal((n_dates, n_assets)),
        "caps": np.exp(rng.normal(22.0, 1.3, (n_dates, n_assets))),
        "codes": np.ascontiguousarray(codes),
        "styles": rng.standard_normal((n_dates, N_STYLES, n_assets)),
    }


def keys(n_dates: int, n_assets: int) -> pl.DataFrame:
    """One row per date and symbol."""
    dates = np.datetime64("2020-01-01") + np.arange(n_dates)
    symbols = [f"S{number:05d}" for number in range(n_assets)]
    return pl.DataFrame({"date": np.repeat(dates, n_assets), "symbol": np.tile(symbols, n_dates)})


def regression_frames(data: dict[str, np.ndarray]) -> dict[str, pl.DataFrame]:
    """The same cross-sections as long frames."""
    base = keys(*data["returns"].shape)
    codes = data["codes"].ravel()
    return {
        "returns": base.with_columns(asset_returns=data["returns"].ravel()),
        "caps": base.with_columns(market_cap=data["caps"].ravel()),
        "sectors": base.with_columns([pl.Series(f"s{k:02d}", (codes == k).astype(int)) for k in range(N_SECTORS)]),
        "styles": base.with_columns([pl.Series(f"t{k}", data["styles"][:, k].ravel()) for k in range(N_STYLES)]),
    }


def momentum_frame(n_dates: int, n_assets: int) -> pl.DataFrame:
    """Random returns as a long frame."""
    rng = np.random.default_rng(1)
    return keys(n_dates, n_assets).with_columns(asset_returns=0.02 * rng.standard_normal(n_dates * n_assets))


def against_toraniko(n_dates: int, repeats: int) -> None:
    """Regression per date (arrays and frames) and momentum scores."""
    data = arrays(n_dates)
    frames = regression_frames(data)
    momentum = momentum_frame(504, 500)
    settings = RegressionSettings(
        design="two_stage", sector_constraint="unweighted", winsor_factor=0.05, residualize_styles=True
    )
    everyone = np.ones(data["returns"].shape, dtype=bool)
    roots = np.sqrt(data["caps"])

    def fit(threads: int) -> np.ndarray:
        model = CrossSectionalRegression(settings, threads=threads)
        out = model.fit(data["returns"], roots, data["caps"], data["codes"], data["styles"], everyone, N_SECTORS)
        return out.factor_returns

    one, two = best(lambda: fit(1), repeats) / n_dates, best(lambda: fit(2), repeats) / n_dates
    framed = best(lambda: estimate_factor_returns(*frames.values()), repeats) / n_dates
    scores = best(lambda: factor_mom(momentum, trailing_days=252).collect(), repeats)
    print(f"one date, {N_ASSETS} assets x {1 + N_SECTORS + N_STYLES} factors, mean of {n_dates} dates:")
    print(f"  arrays, 1 thread {1e3 * one:.3f} ms; 2 threads {1e3 * two:.3f} ms; frames {1e3 * framed:.3f} ms")
    print(f"factor_mom 504 x 500: {scores:.4f} s")
    if not PEER.exists():
        print("  toraniko is not installed apart: make oracles")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, frame in (*frames.items(), ("momentum", momentum)):
            frame.write_parquet(Path(folder) / f"{name}.parquet")
        done = subprocess.run(
            [PEER, ROOT / "benchmarks" / "peers" / "toraniko_model.py", folder],
            capture_output=True,
            text=True,
            check=True,
        )
        theirs = json.loads(done.stdout)
        answer = pl.read_parquet(Path(folder) / "theirs.parquet").sort("date").drop("date").to_numpy()
    apart = float(np.abs(answer - fit(1)).max())
    per_date = theirs["regression"] / n_dates
    print(
        f"  toraniko {1e3 * per_date:.1f} ms a date, {theirs['momentum']:.2f} s for the scores; "
        f"answers differ by {apart:.1e}"
    )
    print(f"  ratios: arrays {per_date / one:.0f} (aim 100), frames {per_date / framed:.1f} (aim 15), "
          f"factor_mom {theirs['momentum'] / scores:.0f} (aim 100)")  # fmt: skip


def large_momentum() -> None:
    """factor_mom on 2,520 x 3,000 in a process of its own, with its peak memory."""
    done = subprocess.run([sys.executable, "-c", BIG_MOMENTUM], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, before, after = (float(word) for word in done.stdout.split())
    print(f"factor_mom 2520 x 3000: {seconds:.2f} s (aim 5), peak {after:.2f} GB (aim 2), the frame {before:.2f} GB")


def updates(n_days: int) -> None:
    """One new day at 3,000 assets, with every style, covariance and specific risk; and what the look at it costs."""
    market = sample_market(N_ASSETS, 320 + n_days)
    panel = market.panel
    for name, names in (("4 styles", ("beta", "momentum", "size", "value")), ("every style", None)):
        styles = StyleSettings(names=names)
        models = {
            policy: FactorModel(ModelSettings(style_factors=styles, intake=Intake(policy=policy))).fit(
                panel.select(dates=slice(0, 320))
            )
            for policy in POLICIES
        }
        seconds: dict[Policy, list[float]] = {policy: [] for policy in POLICIES}
        for day in range(320, 320 + n_days):
            new = panel.select(dates=slice(day, day + 1))
            for policy in POLICIES if day % 2 else POLICIES[::-1]:  # who comes second finds the day in the caches
                start = time.perf_counter()
                models[policy].update(new)
                models[policy].latest()
                seconds[policy].append(time.perf_counter() - start)
        warn, off = (np.array(seconds[policy][2:]) for policy in POLICIES)
        p50, p99 = np.percentile(1e3 * warn, [50, 99])
        print(f"update of one day, {N_ASSETS} assets, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        of_pairs, of_medians = np.median(warn / off), np.median(warn) / np.median(off)
        print(f"  over no look at it (aim 1.03): of pairs {of_pairs:.3f}, of medians {of_medians:.3f}")


def growth(repeats: int) -> None:
    """Exponents of the cost in dates and in assets, and what a second thread gives."""
    settings = ModelSettings(style_factors=StyleSettings(names=("beta", "momentum", "size", "value")))
    whole = sample_market(1600, 1200).panel
    sizes = {"dates": [(600, 400), (1200, 400)], "assets": [(600, 400), (600, 1600)]}
    for name, pair in sizes.items():
        seconds = []
        for n_dates, n_assets in pair:
            panel = whole.select(dates=slice(0, n_dates), symbols=whole.symbols[:n_assets])
            seconds.append(best(lambda panel=panel: FactorModel(settings).fit(panel), repeats))
        ratio = (pair[1][0] / pair[0][0]) * (pair[1][1] / pair[0][1])
        print(f"cost grows with {name} to the power {np.log(seconds[1] / seconds[0]) / np.log(ratio):.2f}")
    second_thread(whole.last(400), repeats)


def second_thread(panel: Panel, repeats: int) -> None:
    """What a second thread gives to a fit, and to each of its stages."""
    models = [FactorModel(ModelSettings(threads=n)) for n in (1, 2)]
    one, two = (best(lambda model=model: model.fit(panel), repeats) for model in models)
    print(f"fit of {panel.n_dates} x {panel.n_assets} with every style: 1 thread {one:.2f} s, 2 threads {two:.2f} s, "
          f"ratio {one / two:.2f}")  # fmt: skip
    for stage in ("estimate_style_scores", "estimate_factor_returns", "estimate_covariance", "estimate_specific_risk"):
        # In their order: each stage forgets what follows it.
        one, two = (best(getattr(model, stage), repeats) for model in models)
        print(f"  {stage:26} {1e3 * one:6.1f} ms, {1e3 * two:6.1f} ms, ratio {one / two:.2f}")
    for threads in (1, 2):
        looks = [FactorModel(ModelSettings(threads=threads, intake=Intake(policy=policy))) for policy in POLICIES]
        ratios = []
        for number in range(15 * repeats):  # who comes second finds the panel in the caches
            turns = looks if number % 2 else looks[::-1]
            seconds = {id(model): timed(lambda model=model: model.fit(panel)) for model in turns}
            ratios.append(seconds[id(looks[0])] / seconds[id(looks[1])])
        print(f"  fit over no look at it, {threads} threads (aim 1.03): {np.median(ratios):.3f}")


def main() -> int:
    """Print every figure."""
    quick = "--quick" in sys.argv[1:]
    repeats = 2 if quick else 5
    against_toraniko(60, repeats)
    large_momentum()
    updates(20 if quick else 100)
    growth(1 if quick else 2)
    sys.path.insert(0, str(Path(__file__).parent))
    import model_skfolio

    status = model_skfolio.main()
    print(f"peak memory of this run {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
