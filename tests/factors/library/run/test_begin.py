"""What is computed of a part of the history equals the whole, also of names that were away and came again."""

import numpy as np
import pytest
from whole_catalogue import whole_catalogue

from factors.library import compile_library
from factors.library.definitions.fields import computable, library_fields
from factors.library.run.begin import begin
from factors.panel.panel import Panel
from factors.sample.market import sample_market

ROW = 150


@pytest.fixture(scope="module")
def market():
    """A market in which two names were away where a look-back of a quarter begins, one of them until later."""
    panel = sample_market(n_assets=24, n_days=200).panel
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for name, (first, last) in {2: (60, 88), 5: (70, 152), 7: (20, 200)}.items():
        for values in fields.values():
            values[first:last, name] = np.nan
    return Panel(panel.dates, panel.symbols, fields, panel.categories)


def run(library, fields, dates, start, stop):
    rows = {name: values[start:stop] for name, values in fields.fields.items()}
    groups = {name: codes[start:stop] for name, codes in fields.groups.items()}
    return library.run(rows, groups=groups, dates=dates[start:stop])


def test_a_conditional_counts_rows_from_the_listing_of_a_name_that_came_again(market):
    fields = library_fields(market)
    library = compile_library({"seventh": whole_catalogue().entries["alpha101_007"]})
    assert library.counted_from_listing == {("close", "volume")}
    start, back = ROW - library.lookback["seventh"], begin(library, fields.fields, ROW, ROW + 1)
    assert start == 84
    assert back == 59  # the last row that name 2 had before it was away at row 84; name 5 is away at row 150 yet
    assert begin(library, fields.fields, ROW, 160) == 59
    whole = run(library, fields, market.dates, 0, ROW + 1)["seventh"][ROW]
    assert np.isfinite(whole[2])
    assert np.isnan(run(library, fields, market.dates, start, ROW + 1)["seventh"][-1][2])
    np.testing.assert_array_equal(run(library, fields, market.dates, back, ROW + 1)["seventh"][-1], whole)


@pytest.mark.parametrize("stop", [ROW + 1, 160, 200])
def test_every_factor_that_is_not_recursive_agrees_with_the_whole_history(market, stop):
    fields = library_fields(market)
    entries = whole_catalogue().entries
    every = compile_library(entries)
    able, _ = computable(every, fields.available)
    short = {n: entries[n] for n in able if n not in every.recursive and every.lookback[n] <= ROW}
    library = compile_library(short)
    whole = run(library, fields, market.dates, 0, stop)
    for tier in (40, 70, ROW):
        few = compile_library({n: e for n, e in short.items() if library.lookback[n] <= tier})
        start = begin(few, fields.fields, ROW, stop)
        part = run(few, fields, market.dates, start, stop)
        for name in few.ids:
            np.testing.assert_array_equal(part[name][ROW - start :], whole[name][ROW:], err_msg=name)


@pytest.mark.parametrize("stop", [ROW + 1, 130])
def test_a_stream_warmed_while_a_name_is_away_counts_its_rows_from_its_listing(market, stop):
    fields = library_fields(market)
    entries = whole_catalogue().entries
    every = compile_library(entries)
    able, _ = computable(every, fields.available)
    library = compile_library({n: entries[n] for n in able if n not in every.recursive and every.lookback[n] <= 30})
    assert library.counted_from_listing
    start = begin(library, fields.fields, stop - 1, stop)
    assert start > 70  # name 5 is away all the while, and comes again at row 152
    whole = run(library, fields, market.dates, 0, 160)
    stream = library.stream(market.n_assets)

    def part(source, rows):
        return {name: values[rows] for name, values in source.items()}

    warmed = slice(start, stop)
    stream.warm(part(fields.fields, warmed), part(fields.groups, warmed), market.dates[warmed])
    stream.count_from_listing(fields.fields, stop)
    for t in range(stop, 160):
        peeked = stream.peek(part(fields.fields, t), part(fields.groups, t), market.dates[t]).copy()
        got = stream.update(part(fields.fields, t), part(fields.groups, t), market.dates[t])
        np.testing.assert_array_equal(peeked, got)
        for name, row in zip(library.ids, got, strict=True):
            np.testing.assert_array_equal(row, whole[name][t], err_msg=f"{name} at {t}")
