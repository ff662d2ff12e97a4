"""skfolio's factor model beside ours in one run: market, 11 industries, beta, momentum, size, value.

Both start from arrays in memory and end with a regime-adjusted factor covariance and specific variances. Ours also
does Newey-West, the eigenfactor adjustment and Bayesian shrinkage. Each is timed after a first fit that compiles and
warms up, and the best of the repeats counts on both sides.

    python benchmarks/model_skfolio.py [N_DATES N_ASSETS REPEATS]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings, StyleSettings
from factors.panel.panel import Categories, Panel

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-oracles" / "bin" / "python"
N_INDUSTRIES = 11
LEAST_RATIO = 3.0


def market(n_dates: int, n_assets: int) -> dict[str, np.ndarray]:
    """Draw returns with a market and industries in them, caps that follow, and book values."""
    rng = np.random.default_rng(0)
    industry = rng.integers(0, N_INDUSTRIES, n_assets)
    moves = 0.004 * rng.standard_normal((n_dates, N_INDUSTRIES))[:, industry]
    returns = 0.01 * rng.standard_normal((n_dates, 1)) * rng.normal(1.0, 0.3, n_assets) + moves
    returns += 0.02 * rng.standard_normal((n_dates, n_assets))
    caps = np.exp(22.0 + 1.4 * rng.standard_normal(n_assets)) * np.cumprod(1.0 + returns, axis=0)
    book = np.broadcast_to(caps[0] * np.exp(-1.0 + 0.5 * rng.standard_normal(n_assets)), caps.shape).copy()
    return {"returns": returns, "market_cap": caps, "book_equity": book, "industry": industry}


def ours(data: dict[str, np.ndarray], repeats: int) -> tuple[list[float], int]:
    """Fit our model; return the seconds of each fit and the number of factors."""
    n_dates, n_assets = data["returns"].shape
    book_price = data["book_equity"] / data["market_cap"]
    panel = Panel(
        np.arange(n_dates).astype("datetime64[D]"),
        tuple(f"a{i:05d}" for i in range(n_assets)),
        {
            "returns": data["returns"],
            "market_cap": data["market_cap"],
            "book_price": book_price,
            "sales_price": book_price,
            "cf_price": book_price,
        },
        {
            "sector": Categories(
                np.broadcast_to(data["industry"].astype(np.int16), (n_dates, n_assets)).copy(),
                tuple(f"i{i}" for i in range(N_INDUSTRIES)),
            )
        },
    )
    styles = StyleSettings(names=("beta", "momentum", "size", "value"))
    settings = ModelSettings(style_factors=styles, top_n_by_mkt_cap=None, threads=None)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        latest = FactorModel(settings).fit(panel).risk_model()
        seconds.append(time.perf_counter() - start)
    return seconds[1:], latest.factor_covariance.shape[0]


def main(n_dates: int = 756, n_assets: int = 3000, repeats: int = 3) -> int:
    """Time both and print the ratio; 1 when ours is less than three times as fast."""
    if not PEER.exists():
        print("skfolio is not installed apart: make oracles")
        return 2
    data = market(n_dates, n_assets)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "in.npz", **data)
        done = subprocess.run(
            [PEER, ROOT / "benchmarks" / "peers" / "skfolio_model.py", Path(folder) / "in.npz", str(repeats + 1)],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        print(done.stderr)
        return 2
    peer = json.loads(done.stdout)
    seconds, n_factors = ours(data, repeats)
    theirs, mine = min(peer["seconds"][1:]), min(seconds)
    print(f"{n_dates} dates x {n_assets} assets, factors: skfolio {peer['n_factors']}, ours {n_factors}")
    print(f"skfolio {theirs:.3f} s   ours {mine:.3f} s   ratio {theirs / mine:.1f} (at least {LEAST_RATIO:.0f})")
    return 0 if theirs / mine >= LEAST_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main(*(int(argument) for argument in sys.argv[1:])))
