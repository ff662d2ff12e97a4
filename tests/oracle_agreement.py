"""What the oracle tests of Alpha101, GTJA191 and Alpha158 share: a market, the subprocess, the comparison."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from factors.library import Catalogue, compile_library, parse
from factors.library.definitions.agreement import oracles
from factors.library.language.conventions import conventions

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "tests" / "oracle_scripts"
N_DATES, N_ASSETS = 380, 72
COMPILER_MISSING = 3


def oracle_market():
    """Give a market without gaps whose ranks move every day, so that few rank correlations are without variance.

    Names revert to a common level and trade alike; KunQuant wants a multiple of eight of them.

    Returns
    -------
    dict of str to float64 [n_dates, n_assets]
    """
    rng = np.random.default_rng(11)
    shape = (N_DATES, N_ASSETS)
    market = rng.normal(0.0003, 0.01, N_DATES)
    shock = rng.normal(0.0, 0.02, shape)
    gap = np.zeros(shape)
    for t in range(1, N_DATES):
        gap[t] = 0.9 * gap[t - 1] + shock[t]
    close = 40.0 * np.exp(np.cumsum(market)[:, None] * rng.uniform(0.5, 1.5, N_ASSETS) + gap)
    opened = close * np.exp(rng.normal(0.0, 0.012, shape))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, 0.008, shape)) + 1e-5)
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, 0.008, shape)) - 1e-5)
    returns = np.full(shape, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1.0
    benchmark = 1000.0 * np.exp(np.cumsum(market))
    fields = {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.exp(13.0 + rng.normal(0.0, 0.05, N_ASSETS) + rng.normal(0.0, 0.6, shape)),
        "vwap": low + (high - low) * rng.uniform(0.2, 0.8, shape),
        "returns": returns,
        "market_cap": close * np.exp(rng.normal(17.0, 1.0, N_ASSETS)),
        "book": 40.0 * np.exp(rng.normal(16.5, 1.0, N_ASSETS)) * np.ones(shape),
        "benchmark_close": np.repeat(benchmark[:, None], N_ASSETS, axis=1),
        "benchmark_open": np.repeat((benchmark * np.exp(rng.normal(0.0, 0.004, N_DATES)))[:, None], N_ASSETS, axis=1),
    }
    subindustry = rng.integers(0, 12, N_ASSETS)
    for level, width in (("sector", 4), ("industry", 2), ("subindustry", 1)):
        fields[level] = np.repeat((subindustry // width)[None, :], N_DATES, axis=0).astype(float)
    return fields


def run_oracle(script, arguments, fields, folder, *, formulas=None, own_python=False):
    """Run a script on the fields and give its arrays; skips, or fails under CI, where the environment is absent."""
    python = Path(sys.executable)
    if not own_python:
        python = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
        if not python.exists():
            _absent("there is no oracle environment: set FACTOR_ENGINE_ORACLE_PYTHON")
    inputs, out = folder / "panel.npz", folder / "out.npz"
    np.savez(inputs, **fields)
    files = [formulas, inputs, out] if formulas else [inputs, out]
    done = subprocess.run([python, SCRIPTS / script, *arguments, *files], check=False, timeout=170, capture_output=True)
    if done.returncode == COMPILER_MISSING:
        _absent("KunQuant needs a C++ compiler")
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    with np.load(out) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _absent(reason):
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def rows_of(oracle):
    """Give the recorded agreements of an oracle, as parameters named after the factor; share 0 says not comparable."""
    return [pytest.param(row, id=row.factor) for row in oracles()[oracle].agreements if row.share > 0.0]


def assert_agrees(ours, theirs, row, *, first_row=0, rtol=1e-9):
    """Hold the values of two implementations against the recorded agreement.

    Cells are equal where both are missing or where they differ by less than `rtol`, relative to the larger of the two
    and to the factor's usual size.
    """
    a, b = ours[first_row:], theirs[first_row:]
    missing_a, missing_b = np.isnan(a), np.isnan(b)
    if row.missing == "ours":
        missing_b = missing_b | missing_a
    both = ~missing_a & ~missing_b
    assert both.any(), f"{row.factor}: nothing to compare"
    usual = np.median(np.abs(b[both]))
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= rtol * np.maximum(np.maximum(np.abs(a), np.abs(b)), usual)
    equal = np.where(both, near, missing_a == missing_b)
    share = equal[~missing_a | ~missing_b].mean()
    assert share >= row.share, f"{row.factor}: {share:.5f} of the cells are equal, {row.share} recorded"


def library_fields(fields):
    """Split the arrays into fields and groups, with dates, as the compiled library wants them."""
    levels = ("sector", "industry", "subindustry")
    dates = np.datetime64("2020-01-01", "D") + np.arange(len(fields["close"]))
    groups = {level: fields[level].astype(np.int16) for level in levels}
    return {name: values for name, values in fields.items() if name not in levels}, {"dates": dates, "groups": groups}


def our_values(oracle, fields):
    """Compute what an oracle is held against: each factor's text, or the recorded one, under the recorded conventions.

    Returns
    -------
    dict of factor to (values [n_dates, n_assets], warm-up rows)
    """
    catalogue = Catalogue.load()
    groups = {}
    for row in oracles()[oracle].agreements:
        groups.setdefault(conventions(row.conventions), []).append(row)
    arrays, rest = library_fields(fields)
    found = {}
    for convention, rows in groups.items():
        texts = {row.factor: row.formula or text_of(catalogue, row.factor) for row in rows}
        library = compile_library(
            {name: parse(text, convention, definitions=catalogue.definitions) for name, text in texts.items()}
        )
        values = library.run(arrays, **rest)
        found |= {name: (values[name], library.warmup[name]) for name in library.ids}
    return found


def text_of(catalogue, name):
    """Give the formula of an entry, or the published one of an alias."""
    return catalogue.aliases[name].formula if name in catalogue.aliases else catalogue.entries[name].formula
