"""qlib's operators, translated, against qlib itself, on names that list late, leave and pause."""

import json

import numpy as np
import pytest
from oracle_agreement import library_fields, oracle_market, run_oracle, seen, torn

from factors.library import compile_library, parse, translate
from factors.library.language.dialects.qlib import _KNOWN

pytestmark = pytest.mark.oracle

FORMULAS = {
    "Abs": "Abs($close - $open)",
    "Sign": "Sign($close - $open)",
    "Log": "Log($volume)",
    "Not": "If(Not($close > $open), $close, $open)",
    "Greater": "Greater($close, $open)",
    "Less": "Less($close, 40)",
    "If": "If($close > Ref($close, 1), $high, $low)",
    "Add": "Add($close, $open)",
    "Sub": "Sub($close, 1)",
    "Mul": "Mul($close, $volume)",
    "Div": "Div($close, $open)",
    "Power": "Power($close, 2)",
    "Gt": "Gt($close, $open) * 1",
    "Ge": "Ge($close, $open) * 1",
    "Lt": "Lt($close, $open) * 1",
    "Le": "Le($close, $open) * 1",
    "Eq": "Eq($close, $close) * 1",
    "Ne": "Ne($close, $open) * 1",
    "And": "If(And($close > $open, $high > $close), 1, 0)",
    "Or": "If(Or($close > $open, $open > $vwap), 1, 0)",
    "Mean": "Mean($close, 7)",
    "Mean of a share": "Mean($close, 0.2)",
    "Sum": "Sum($volume, 7)",
    "Std": "Std($close, 7)",
    "Var": "Var($close, 7)",
    "Skew": "Skew($close, 7)",
    "Kurt": "Kurt($close, 7)",
    "Max": "Max($close, 7)",
    "Min": "Min($close, 7)",
    "IdxMax": "IdxMax($close, 7)",
    "IdxMin": "IdxMin($close, 7)",
    "Med": "Med($close, 7)",
    "Mad": "Mad($close, 7)",
    "Rank": "Rank($close, 7)",
    "Delta": "Delta($close, 3)",
    "Slope": "Slope($close, 7)",
    "Rsquare": "Rsquare($close, 7)",
    "Resi": "Resi($close, 7)",
    "Corr": "Corr($close, $volume, 7)",
    "Cov": "Cov($close, $volume, 7)",
    "Ref": "Ref($close, 4) / $close",
    "Quantile": "Quantile($close, 7, 0.3)",
    "Count": "Count($close, 7)",
    "WMA": "WMA($close, 7)",
    "EMA": "EMA($close, 7)",
}
# Compared where the whole window is there: the notes of the translation say why.
WHOLE = ("IdxMax", "IdxMin", "Mad", "WMA")
# qlib's compiled regression goes on from a window of one row, or of mostly missing rows, with what rounding leaves.
TWO_ROWS = ("Slope", "Rsquare", "Resi", "Corr", "Cov")


@pytest.fixture(scope="module")
def market():
    return {name: values[:, :9] for name, values in torn(oracle_market()).items()}


@pytest.fixture(scope="module")
def theirs(market, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialect")
    (folder / "formulas.json").write_text(json.dumps(FORMULAS))
    fields = {**market, "listed": np.isfinite(market["close"])}
    return run_oracle("pyqlib_formulas.py", [], fields, folder, formulas=folder / "formulas.json")


@pytest.fixture(scope="module")
def ours(market):
    found = {name: translate(text, "qlib") for name, text in FORMULAS.items()}
    library = compile_library({name: parse(one.text, one.conventions) for name, one in found.items()})
    arrays, rest = library_fields(market)
    return library.run(arrays, **rest)


def test_every_operator_that_is_translated_is_compared():
    assert {name.split()[0] for name in FORMULAS} == set(_KNOWN)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_operator_gives_qlibs_values(name, market, ours, theirs):
    a, b = ours[name], theirs[name]
    inside = seen(market)
    there = np.isfinite(market["close"])
    rows = sum(np.vstack([np.zeros((k, 9), bool), there[: len(there) - k]]) for k in range(7))
    if name in WHOLE:
        inside = inside & (rows == 7)
    if name in TWO_ROWS:
        inside = inside & (rows > 1)
    assert np.isfinite(a[inside]).mean() > 0.8
    np.testing.assert_allclose(a[inside], b[inside], rtol=1e-7, atol=1e-9)
