"""Streaming is batch, bit for bit; the future does not matter, nor where one starts once warm."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamed import FORMULAS, batch, listing, rows, same
from whole_catalogue import whole_catalogue

from factors.library import FieldsError, compile_library

RECURSIVE = {"smooth", "cycle", "path", "market_path"}


@pytest.fixture(scope="module")
def market(panel_of):
    return panel_of(130, 9, seed=5)


@pytest.fixture(scope="module")
def library():
    return compile_library(FORMULAS)


@pytest.fixture(scope="module")
def whole(library, market):
    return batch(library, market)


def test_every_factor_of_the_sample_gives_values(whole):
    for name, values in whole.items():
        assert np.isfinite(values).mean() > 0.3, name


def test_streaming_row_by_row_equals_batch_bit_for_bit(library, market, whole):
    stream = library.stream(9)
    for t in range(130):
        result = stream.update(*rows(market, t))
        for k, name in enumerate(library.ids):
            same(result[k], whole[name][t])


@pytest.mark.parametrize(("block", "threads"), [(1, 1), (7, 1), (13, 2), (32, 3), (500, 2)])
def test_blocks_and_threads_do_not_change_a_bit(library, market, whole, block, threads):
    result = batch(library, market, block=block, threads=threads)
    for name in library.ids:
        same(result[name], whole[name])


@pytest.mark.parametrize("end", [1, 2, 31, 32, 33, 64, 75, 101, 129])
def test_batch_on_a_prefix_is_the_prefix_of_batch(library, market, whole, end):
    result = batch(library, market, slice(0, end))
    for name in library.ids:
        same(result[name], whole[name][:end])


@pytest.mark.parametrize("start", [1, 2, 7, 19, 32, 33, 47])
def test_a_start_elsewhere_agrees_bit_for_bit_after_the_warm_up(library, market, whole, start):
    result = batch(library, market, slice(start, None))
    for name in library.ids:
        if name not in library.recursive:
            ready = library.lookback[name]
            # names not yet listed at the start have their own warm-up in both
            same(result[name][ready:, 4:], whole[name][start + ready :, 4:])


def test_the_recursive_factors_say_so(library):
    assert library.recursive == RECURSIVE


CALENDARS = {
    "every day": np.ones(150, int),
    "once a week": np.full(150, 7),
    "once a month": np.full(150, 31),
    "with long holidays": np.random.default_rng(1).choice([1, 1, 1, 2, 40, 95], 150),
}


@pytest.mark.parametrize("gaps", CALENDARS.values(), ids=CALENDARS)
def test_long_windows_are_right_and_forget_where_they_began_whatever_the_calendar(panel_of, gaps):
    panel = panel_of(150, 9, seed=3)
    panel.dates = np.datetime64("2015-03-05") + np.cumsum(gaps)
    library = compile_library(
        {
            "sum": "mean(close, 70)",
            "some": "sum(close, 66, min_periods=4)",
            "pair": "corr(close, volume, 68)",
            "fit": "mreg_slope(2, 71, returns, benchmark_return, volume, min_periods=30)",
        }
    )
    whole, later = batch(library, panel), batch(library, panel, slice(17, None), block=5)
    stream = library.stream(9)
    for t in range(150):
        result = stream.update(*rows(panel, t))
        for k, name in enumerate(library.ids):
            same(result[k], whole[name][t])
    close, volume = panel.fields["close"], panel.fields["volume"]
    for name in library.ids:
        ready = library.lookback[name]
        same(later[name][ready:], whole[name][17 + ready :])
    for t in range(72, 150):
        for j in (3, 5):
            np.testing.assert_allclose(whole["sum"][t, j], close[t - 69 : t + 1, j].mean(), rtol=1e-13)
            expected = np.corrcoef(close[t - 67 : t + 1, j], volume[t - 67 : t + 1, j])[0, 1]
            np.testing.assert_allclose(whole["pair"][t, j], expected, rtol=1e-10)
        np.testing.assert_allclose(whole["some"][t, 0], np.nansum(close[t - 65 : t + 1, 0]), rtol=1e-13)


def test_nothing_is_said_before_the_warm_up_of_the_panel_or_of_a_late_listing(library, market, whole):
    listed = 130 // 3
    for name in library.ids:
        ready = library.warmup[name]
        assert np.isnan(whole[name][:ready]).all(), name
        if name not in ("across", "group", "market", "masked", "long_fit", "filled") and "market_" not in name:
            assert np.isnan(whole[name][: listed + ready, 0]).all(), name


def test_nothing_is_infinite_on_hard_data(library, panel_of):
    panel = panel_of(100, 9, seed=6)
    panel.fields["volume"][::7] = 0.0
    panel.fields["close"][::11, 4] = 0.0
    panel.fields["close"][40:, 5] = np.nan
    panel.fields["returns"][20, :] = np.inf
    panel.fields["market_cap"][:, 7] = np.nan
    panel.fields["open"][:, 8] = np.nan
    panel.fields["high"][50] = 1e300
    for values in batch(library, panel).values():
        assert not np.isinf(values).any()


def test_a_saved_state_goes_on_as_if_nothing_had_happened(library, market, whole):
    first = library.stream(9)
    for t in range(77):
        first.update(*rows(market, t))
    saved = {name: value.copy() for name, value in first.state().items()}
    second = library.stream(9)
    second.restore(saved)
    for t in range(77, 130):
        result = second.update(*rows(market, t))
        for k, name in enumerate(library.ids):
            same(result[k], whole[name][t])


def test_new_names_join_at_the_end_without_history(library, market):
    grown = library.stream(6)
    for t in range(50):
        grown.update(*rows(market, t, slice(0, 6)))
    grown.grow(9)
    full = library.stream(9)
    for t in range(130):
        fields, groups, day = rows(market, t)
        if t < 50:
            fields = {name: np.where(np.arange(9) < 6, value, np.nan) for name, value in fields.items()}
            groups = {name: np.where(np.arange(9) < 6, value, -1) for name, value in groups.items()}
        expected = full.update(fields, groups, day)
        if t >= 50:
            same(grown.update(*rows(market, t)), expected)


def assert_that_a_growing_stream_is_the_batch(library, panel, listed, shared=()):
    whole = batch(library, panel)
    stream = library.stream(int((listed <= 0).sum()))
    for t in range(len(panel.dates)):
        n = int((listed <= t).sum())
        stream.grow(n, shared)
        result = stream.update(*rows(panel, t, slice(0, n)))
        for k, name in enumerate(library.ids):
            np.testing.assert_array_equal(result[k], whole[name][t, :n], err_msg=f"{name}, row {t}")


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 110), min_size=8, max_size=8).map(sorted),
    st.sampled_from([(), ("benchmark_return", "benchmark_close")]),
)
def test_a_stream_that_grows_as_names_list_is_the_batch_bit_for_bit(library, panel_of, days, shared):
    listed = np.array([0, *days])
    panel = listing(panel_of(130, 9, seed=5, dirty=False), listed, shared)
    # a first row with a return: the name traded elsewhere the day before
    panel.fields["returns"][listed, np.arange(9)] = 0.01
    assert_that_a_growing_stream_is_the_batch(library, panel, listed, shared)


MARKETS_PAST = (
    "openap_pricedelayrsq", "openap_pricedelayslope", "jkp_beta_dimson_21d", "jkp_betadown_252d",
    "res_beta_upside_252", "res_beta_down_relative_252",
)  # fmt: skip


def test_a_name_that_joins_has_the_markets_past_in_the_running_stream_as_in_the_batch(panel_of):
    """Their windows of a year, with lags of the market, reach back before the name: its first row has a return."""
    entries = whole_catalogue().entries
    library = compile_library({name: entries[name] for name in MARKETS_PAST})
    listed = np.array([0] * 6 + [40, 150, 230])
    panel = listing(panel_of(420, 9, seed=9, dirty=False), listed)
    panel.fields["returns"][listed, np.arange(9)] = 0.01
    whole = batch(library, panel)
    for name in MARKETS_PAST:
        assert np.isfinite(whole[name][-1]).all(), name
    assert_that_a_growing_stream_is_the_batch(library, panel, listed)


def test_a_state_saved_before_names_joined_is_taken_up_by_more_names(library, panel_of):
    listed = np.array([0] * 6 + [60] * 3)
    panel = listing(panel_of(130, 9, seed=7, dirty=False), listed)
    whole, before = batch(library, panel), library.stream(6)
    for t in range(60):
        before.update(*rows(panel, t, slice(0, 6)))
    after = library.stream(9)
    after.restore(before.state())
    for t in range(60, 130):
        result = after.update(*rows(panel, t))
        for k, name in enumerate(library.ids):
            same(result[k], whole[name][t])


def test_a_permutation_of_the_names_permutes_the_factors(library, market, whole):
    order = np.random.default_rng(0).permutation(9)
    shuffled = type(market)(
        fields={k: v[:, order] for k, v in market.fields.items()},
        groups={k: v[:, order] for k, v in market.groups.items()},
        dates=market.dates,
    )
    result = batch(library, shuffled)
    for name in library.ids:
        np.testing.assert_allclose(result[name], whole[name][:, order], rtol=1e-8, atol=1e-8)


def test_one_name_alone_and_a_field_that_is_all_missing_are_no_error(library, panel_of):
    alone = panel_of(90, 1)
    assert np.isfinite(batch(library, alone)["windows"]).any()
    empty = panel_of(40, 5)
    empty.fields["volume"][:] = np.nan
    assert np.isnan(batch(library, empty)["lagged_rank"]).all()


def test_a_bad_row_is_refused_by_name_and_changes_nothing(library, market, whole):
    stream = library.stream(9)
    for t in range(20):
        stream.update(*rows(market, t))
    fields, groups, day = rows(market, 20)
    with pytest.raises(FieldsError, match="close"):
        stream.update({k: v for k, v in fields.items() if k != "close"}, groups, day)
    with pytest.raises(FieldsError, match="vwap"):
        stream.update({**fields, "vwap": fields["vwap"][:4]}, groups, day)
    with pytest.raises(FieldsError, match="dates must increase"):
        stream.update(fields, groups, market.dates[19])
    result = stream.update(fields, groups, day)
    for k, name in enumerate(library.ids):
        same(result[k], whole[name][20])


def test_a_state_of_another_library_is_refused(library, market):
    other = compile_library({"x": "mean(close, 5)"}).stream(9)
    with pytest.raises(FieldsError, match="state"):
        other.restore(library.stream(9).state())


@pytest.fixture(scope="module")
def everything():
    catalogue = whole_catalogue()
    return compile_library(catalogue.entries) if catalogue.entries else None


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1000))
def test_the_whole_catalogue_streams_as_it_batches_and_forgets_where_it_began(everything, panel_of, seed):
    panel = panel_of(90, 12, seed=seed)
    whole = batch(everything, panel)
    prefix = batch(everything, panel, slice(0, 71))
    later = batch(everything, panel, slice(9, None))
    stream = everything.stream(12)
    for t in range(90):
        result = stream.update(*rows(panel, t))
        for k, name in enumerate(everything.ids):
            np.testing.assert_array_equal(result[k], whole[name][t], err_msg=name)
    for name in everything.ids:
        np.testing.assert_array_equal(prefix[name], whole[name][:71], err_msg=name)
        assert not np.isinf(whole[name]).any(), name
        ready = everything.warmup[name]
        assert np.isnan(whole[name][:ready]).all(), name
        ready = everything.lookback[name]
        if name not in everything.recursive:
            np.testing.assert_array_equal(later[name][ready:, 4:], whole[name][9 + ready :, 4:], err_msg=name)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1000))
def test_the_whole_catalogue_streams_as_it_batches_while_names_join(everything, panel_of, seed):
    listed = np.sort(np.random.default_rng(seed).integers(-30, 75, 12)).clip(0)
    listed[0] = 0  # a stream begins with somebody
    shared = ("benchmark_return", "benchmark_close", "benchmark_open")
    panel = listing(panel_of(90, 12, seed=seed, dirty=False), listed, shared)
    panel.fields["returns"][listed, np.arange(12)] = -0.02
    assert_that_a_growing_stream_is_the_batch(everything, panel, listed, shared)
