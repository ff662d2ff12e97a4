"""Warming a stream by blocks leaves it as row-by-row updates do."""

import numpy as np
import pytest

from factors.library import FieldsError, compile_library

FORMULAS = {
    "mom": "delay(close, 2) / delay(close, 9) - 1",
    "corr": "corr(rank(close), rank(volume), 5)",
    "ema": "ema(close, 7)",
    "tsr": "ts_rank(close, 6) * indneutralize(close, sector)",
}


@pytest.mark.parametrize("block", [1, 3, 32])
def test_a_warmed_stream_goes_on_bit_for_bit(block):
    rng = np.random.default_rng(0)
    fields = {name: np.exp(rng.standard_normal((45, 6)) * 0.05) for name in ("close", "volume")}
    fields["close"][10:14, 2] = np.nan
    groups = {"sector": np.tile(np.array([0, 0, 1, 1, 1, -1], np.int16), (45, 1))}
    dates = np.datetime64("2020-01-01", "D") + np.arange(45)
    library = compile_library(FORMULAS)
    slow, fast = library.stream(6), library.stream(6)

    def row(t):
        return {n: v[t] for n, v in fields.items()}, {n: v[t] for n, v in groups.items()}, dates[t]

    for t in range(40):
        expected = slow.update(*row(t))
    warm = fast.warm({n: v[:40] for n, v in fields.items()}, {n: v[:40] for n, v in groups.items()}, dates[:40], block)
    np.testing.assert_array_equal(warm, expected)
    for t in range(40, 45):
        np.testing.assert_array_equal(fast.update(*row(t)), slow.update(*row(t)))


def test_warming_without_a_field_names_it_and_changes_nothing():
    stream = compile_library({"a": "mean(close, 3)"}).stream(2)
    with pytest.raises(FieldsError, match="close"):
        stream.warm({}, {}, np.array(["2020-01-01"], "datetime64[D]"))
    for t in range(3):
        last = stream.update(
            {"close": np.array([1.0, 2.0])}, None, np.datetime64("2020-01-02", "D") + np.timedelta64(t, "D")
        )
    np.testing.assert_array_equal(last[0], [1.0, 2.0])
