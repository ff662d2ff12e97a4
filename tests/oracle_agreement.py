"""What the oracle tests of Alpha101, GTJA191 and Alpha158 share: a market, the subprocess, the comparison."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from whole_catalogue import whole_catalogue

from factors.library import compile_library, parse
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


def torn(fields):
    """Give a market in which names list late, leave, pause for days or weeks, and miss single days.

    The first eight names have one trouble each, the others are away on one day in a hundred.
    """
    rng = np.random.default_rng(3)
    shape = fields["close"].shape
    away = (rng.random(shape) < 0.01) & (np.arange(shape[1]) >= 8)
    away[:120, 0] = away[250:, 1] = away[150:153, 2] = away[200, 2] = away[100:140, 3] = True
    away[:37, 4] = away[180:, 4] = away[300:303, 5] = away[1:4, 6] = away[:376, 7] = True
    together = ("sector", "industry", "subindustry", "benchmark_close", "benchmark_open")
    return {name: v if name in together else np.where(away, np.nan, v) for name, v in fields.items()}


def seen(fields):
    """Mark a name's rows from its first to its last, [n_dates, n_assets]: where the others have a series of it."""
    listed = np.isfinite(fields["close"])
    return np.maximum.accumulate(listed, axis=0) & np.maximum.accumulate(listed[::-1], axis=0)[::-1]


def run_oracle(script, arguments, fields, folder, *, formulas=None, own_python=False):
    """Run a script on the fields and give its arrays; skips, or fails under CI, where the environment is absent."""
    python = Path(sys.executable) if own_python else oracle_python()
    inputs, out = folder / "panel.npz", folder / "out.npz"
    np.savez(inputs, **fields)
    files = [formulas, inputs, out] if formulas else [inputs, out]
    done = subprocess.run([python, SCRIPTS / script, *arguments, *files], check=False, timeout=170, capture_output=True)
    if done.returncode == COMPILER_MISSING:
        _absent("KunQuant needs a C++ compiler")
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    with np.load(out) as arrays:
        return {name: arrays[name] for name in arrays.files}


def oracle_python(module=None):
    """Give the Python of the oracle environment, which has a module; skips, or fails under CI, where it is absent."""
    python = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
    if not python.exists():
        _absent("there is no oracle environment: set FACTOR_ENGINE_ORACLE_PYTHON")
    installed = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    if module is not None and subprocess.run([python, "-c", installed], check=False).returncode:
        _absent(f"{module} is not in the oracle environment: run `make oracles`")
    return python


def _absent(reason):
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def rows_of(oracle):
    """Give the recorded agreements of an oracle, as parameters named after the factor; share 0 says not comparable."""
    return [pytest.param(row, id=row.factor) for row in oracles()[oracle].agreements if row.share > 0.0]


def assert_agrees(ours, theirs, row, *, first_row=0, rtol=1e-9, inside=None, share=None):
    """Hold the values of two implementations against the recorded agreement, or against another least share.

    Only where `inside` is true, if it is given.

    Cells are equal where both are missing or where they differ by less than `rtol`, relative to the larger of the two
    and to the factor's usual size.
    """
    there = np.ones(ours.shape, dtype=bool) if inside is None else inside.copy()
    there[:first_row] = False
    agree = equal_share(ours, theirs, row, rtol, there)
    least = row.share if share is None else share
    assert agree >= least, f"{row.factor}: {agree:.5f} of the cells are equal, {least} recorded"


def equal_share(a, b, row, rtol, there):
    """Give the share of cells, among those that are `there`, on which two implementations agree."""
    a, b = np.where(there, a, np.nan), np.where(there, b, np.nan)
    missing_a, missing_b = np.isnan(a), np.isnan(b)
    if row.missing == "ours":
        missing_b = missing_b | missing_a
    both = ~missing_a & ~missing_b
    assert both.any(), f"{row.factor}: nothing to compare"
    usual = np.median(np.abs(b[both]))
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= rtol * np.maximum(np.maximum(np.abs(a), np.abs(b)), usual)
    equal = np.where(both, near, missing_a == missing_b)
    return equal[~missing_a | ~missing_b].mean()


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
    catalogue = whole_catalogue()
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


# The peers that compute on any market: script, arguments, how a factor is called there, tolerance of its numbers.
PEERS = {
    "alpha101v": ("alpha101v_factors.py", ["own"], lambda n: f"alpha{int(n[-3:])}", 1e-9),
    "alpha101v_paper": ("alpha101v_factors.py", ["paper"], lambda n: f"alpha{int(n[-3:])}", 1e-9),
    "kunquant_alpha101": ("kunquant_factors.py", ["alpha101"], lambda n: f"alpha{n[-3:]}", 1e-6),
    "kunquant_alpha158": ("kunquant_factors.py", ["alpha158"], lambda n: n.removeprefix("alpha158_").upper(), 1e-7),
    "qlib_alpha158": ("pyqlib_formulas.py", ["alpha158"], lambda n: n.removeprefix("alpha158_"), 1e-7),
}


def compared(oracle, fields, folder):
    """Compute an oracle and us: of each factor the record, our values, theirs, and the cells where both can speak.

    These are a name's rows from its first to its last, less those that the oracle itself calls unreliable.
    """
    script, arguments, name_of, _ = PEERS[oracle]
    listed = np.isfinite(fields["close"])
    if oracle.startswith("kunquant"):
        fields = {**fields, "returns": of_closes(fields["close"])}
    theirs = run_oracle(script, arguments, {**fields, "listed": listed}, folder)
    ours = our_values(oracle, fields)
    inside = seen(fields)
    for row in oracles()[oracle].agreements:
        if row.share > 0.0:
            name = name_of(row.factor)
            first = int(theirs.get(f"unreliable_{name}", 0))
            yield row, ours[row.factor][0], theirs[name], inside & (np.cumsum(listed, axis=0) > first)


def of_closes(close):
    """Give the returns that KunQuant makes itself: of one close after another, without dividends, none after a gap."""
    returns = np.full(close.shape, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1.0
    return returns


def shares(oracle, fields, folder):
    """Compare an oracle with us: each factor's share of equal cells."""
    rtol = PEERS[oracle][-1]
    return {row.factor: equal_share(a, b, row, rtol, there) for row, a, b, there in compared(oracle, fields, folder)}


def real_market(n_assets=40):
    """Give the last rows of the real data, as `oracle_market` gives its own; None where the file is not there."""
    import polars as pl

    from factors.library.definitions.fields import library_fields as fields_of
    from factors.panel.panel import Panel

    path = ROOT.parent / "shared" / "data" / "sp500_2014_2018.parquet"
    if not path.exists():
        return None
    panel = Panel.from_frame(pl.read_parquet(path)).last(N_DATES)
    held = fields_of(panel.select(dates=slice(0, N_DATES), symbols=panel.symbols[:n_assets]))
    wanted = oracle_market()
    return {name: np.asarray((held.fields | held.groups)[name], dtype=float) for name in wanted}


def measured(oracle, fields, folder):
    """Give the table of a record: the shares that are not the recorded one, a little below what was measured."""
    recorded = {row.factor: row.share for row in oracles()[oracle].agreements}
    found = shares(oracle, fields, folder)
    return {name: int(max(share - 0.002, 0.0) * 1000) / 1000 for name, share in found.items() if share < recorded[name]}


def main():
    """Print the tables [gaps] and [real] of each record."""
    import tempfile

    for oracle in sys.argv[1:] or PEERS:
        for panel in ("gaps", "real"):
            fields = torn_market() if panel == "gaps" else real_market()
            with tempfile.TemporaryDirectory() as folder:
                table = measured(oracle, fields, Path(folder))
            lines = [f"## {oracle}", "", f"[{panel}]", *(f"{name} = {share}" for name, share in table.items()), ""]
            sys.stdout.write("\n".join(lines))
            sys.stdout.flush()


def torn_market(n_assets=40):
    """Give some names of the torn market."""
    return {name: values[:, :n_assets] for name, values in torn(oracle_market()).items()}


if __name__ == "__main__":
    main()
