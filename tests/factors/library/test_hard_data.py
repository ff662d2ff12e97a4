"""Every factor of the catalogue on hard data: NaN where it is undefined and only there, never infinite, never early."""

import copy

import numpy as np
import pytest
from whole_catalogue import whole_catalogue

from factors.library import compile_library

N_DATES, N_NAMES = 330, 16
LATE, DELISTED, SUSPENDED, UNTRADED, WORTHLESS, SPLIT, NEVER, UNREPORTED, UNGROUPED, *PLAIN = range(N_NAMES)
LISTED, GONE = 110, 220
NOT_REPORTED_ON = frozenset(
    (
        "open", "high", "low", "close", "volume", "vwap", "amount", "returns", "market_cap", "shares", "rf",
        "benchmark_open", "benchmark_close", "benchmark_return",
    )
)  # fmt: skip
PRICES = ("open", "high", "low", "close", "vwap")


def harden(clean):
    """The same market in which most names have one trouble each; the last ones have none."""
    panel = copy.deepcopy(clean)
    f = panel.fields
    for name, values in f.items():
        if name.startswith("benchmark") or name == "rf":
            continue
        values[:LISTED, LATE] = np.nan
        values[GONE:, DELISTED] = np.nan
        values[150:161, SUSPENDED] = np.nan
        values[:, NEVER] = np.nan
    f["volume"][100:141, UNTRADED] = 0.0
    for name in PRICES:
        f[name][170:176, WORTHLESS] = 0.0
        f[name][200:, SPLIT] /= 2.0
    f["returns"][170, WORTHLESS], f["returns"][176, WORTHLESS] = -1.0, np.inf
    f["volume"][200:, SPLIT] *= 2.0
    f["shares"][200:, SPLIT] *= 2.0
    for name in f.keys() - NOT_REPORTED_ON:
        f[name][:, UNREPORTED] = np.nan
    for codes in panel.groups.values():
        codes[:, [NEVER, UNGROUPED]] = -1
    return panel


def computed(library, panel, dates=slice(None)):
    fields = {name: values[dates] for name, values in panel.fields.items()}
    groups = {name: codes[dates] for name, codes in panel.groups.items()}
    return library.run(fields, groups=groups, dates=panel.dates[dates])


def equal(a, b):
    return (a == b) | (np.isnan(a) & np.isnan(b))


@pytest.fixture(scope="module")
def everything():
    return compile_library(whole_catalogue().entries)


@pytest.fixture(scope="module")
def clean(panel_of):
    return panel_of(N_DATES, N_NAMES, seed=21, dirty=False)


@pytest.fixture(scope="module")
def untroubled(everything, clean):
    return computed(everything, clean)


@pytest.fixture(scope="module")
def hard(clean):
    return harden(clean)


@pytest.fixture(scope="module")
def values(everything, hard):
    return computed(everything, hard)


def test_nothing_is_infinite_and_nothing_is_said_before_the_warm_up(everything, values):
    for name, found in values.items():
        assert not np.isinf(found).any(), name
        assert np.isnan(found[: everything.warmup[name]]).all(), name


def test_a_name_has_no_value_before_it_is_listed_and_one_that_never_is_has_none(values):
    for name, found in values.items():
        assert np.isnan(found[:LISTED, LATE]).all(), name
        assert np.isnan(found[:, NEVER]).all(), name


def test_a_name_has_no_value_on_a_day_without_a_row_nor_after_it_has_left(values):
    for name, found in values.items():
        assert np.isnan(found[GONE:, DELISTED]).all(), name
        assert np.isnan(found[150:161, SUSPENDED]).all(), name
    spoken = sum(np.isfinite(found[GONE - 1, DELISTED]) for found in values.values())
    returned = sum(np.isfinite(found[161:, SUSPENDED]).any() for found in values.values())
    assert spoken > 300
    assert returned > 500


def looks_across(term):
    """Whether a formula compares names anywhere."""
    across = term.name in ACROSS or term.name.startswith(("cs_", "group_"))
    return across or any(looks_across(argument) for argument in term.args)


ACROSS = {
    "rank", "scale", "zscore", "demean", "standardize", "winsorize", "winsorize_sigma", "gauss_rank", "bucket",
    "indneutralize", "mkt_return", "industry_return",
}  # fmt: skip


def test_the_trouble_of_one_name_is_no_other_names(values, untroubled):
    """A factor of a name's own history does not see other names at all; one that compares names keeps its values.

    Ranks among fewer names tie more often, and a portfolio of few names can be empty: hence the allowance.
    """
    own = 0
    for name, entry in whole_catalogue().entries.items():
        found, before = values[name][:, PLAIN], untroubled[name][:, PLAIN]
        if looks_across(entry.expression.root):
            assert (np.isnan(found) & ~np.isnan(before)).mean() < 0.2, name
        else:
            own += 1
            assert equal(found, before).all(), name
    assert own > 300


def test_a_split_changes_no_factor_of_adjusted_data_only(values, untroubled):
    """A two-for-one split leaves returns and caps alone: factors of these alone do not see it."""
    for name in ("jkp_ret_12_1", "jkp_rvol_21d", "barra_beta", "jkp_market_equity", "jkp_rmax5_21d"):
        np.testing.assert_array_equal(np.isnan(values[name][:, SPLIT]), np.isnan(untroubled[name][:, SPLIT]), name)


def test_a_start_elsewhere_agrees_bit_for_bit_also_for_troubled_names(everything, values, hard):
    start = 40
    later = computed(everything, hard, slice(start, None))
    for name in everything.ids:
        if name not in everything.recursive:
            ready = everything.lookback[name]
            same = equal(later[name][ready:], values[name][start + ready :])
            assert same.all(), (name, np.argwhere(~same)[:3])


def test_another_order_of_the_names_is_another_order_of_the_values(everything, values, hard):
    order = np.random.default_rng(1).permutation(N_NAMES)
    shuffled = copy.deepcopy(hard)
    shuffled.fields = {name: x[:, order] for name, x in hard.fields.items()}
    shuffled.groups = {name: x[:, order] for name, x in hard.groups.items()}
    for name, found in computed(everything, shuffled).items():
        expected = values[name][:, order]
        near = equal(found, expected) | np.isclose(found, expected, rtol=1e-7, atol=1e-9)
        assert near.mean() > 0.999, (name, near.mean())


@pytest.mark.parametrize("field", ["volume", "vwap", "market_cap", "benchmark_close", "book", "returns"])
def test_a_field_that_is_all_missing_silences_the_factors_that_need_it_and_no_other(everything, panel_of, field):
    panel = panel_of(70, 6, seed=4)
    before = computed(everything, panel)
    panel.fields[field][:] = np.nan
    assert any(field in needed and np.isfinite(before[name]).any() for name, needed in everything.inputs.items())
    for name, found in computed(everything, panel).items():
        if field in everything.inputs[name]:
            assert np.isnan(found).all(), name
        else:
            assert equal(found, before[name]).all(), name


def test_one_name_alone_is_no_error(everything, panel_of):
    for name, found in computed(everything, panel_of(70, 1)).items():
        assert not np.isinf(found).any(), name
        assert np.isnan(found[: everything.warmup[name]]).all(), name


def rows(panel, t):
    fields = {name: values[t] for name, values in panel.fields.items()}
    return fields, {name: codes[t] for name, codes in panel.groups.items()}, panel.dates[t]


def assert_steps_are_the_batch(library, panel, values):
    stream = library.stream(len(panel.fields["close"][0]))
    for t in range(len(panel.dates)):
        step = stream.update(*rows(panel, t))
        for k, name in enumerate(library.ids):
            assert equal(step[k], values[name][t]).all(), (name, t)


def test_step_by_step_gives_the_batch_bit_for_bit_on_hard_data(everything, hard, values):
    assert_steps_are_the_batch(everything, hard, values)


def test_the_batch_on_a_prefix_is_the_prefix_of_the_batch_on_hard_data(everything, hard, values):
    for name, found in computed(everything, hard, slice(0, 290)).items():
        assert equal(found, values[name][:290]).all(), name


@pytest.fixture(scope="module")
def patient(everything):
    """The factors that look back further than the hard panel reaches."""
    entries = whole_catalogue().entries
    return compile_library({name: entries[name] for name in everything.ids if everything.lookback[name] >= N_DATES})


def test_factors_that_look_back_for_years_stream_as_they_batch_and_forget_where_they_began(patient, panel_of):
    panel = panel_of(1600, 12, seed=8)
    values = computed(patient, panel)
    assert_steps_are_the_batch(patient, panel, values)
    spoke = {name for name, found in values.items() if np.isfinite(found).any()}
    assert len(spoke) > 0.9 * len(values), set(values) - spoke
    prefix, later = computed(patient, panel, slice(0, 1560)), computed(patient, panel, slice(25, None))
    for name, found in values.items():
        assert equal(prefix[name], found[:1560]).all(), name
        assert np.isnan(found[: patient.warmup[name]]).all(), name
        if name not in patient.recursive:
            ready = patient.lookback[name]
            assert equal(later[name][ready:], found[25 + ready :]).all(), name


# Of a two-row correlation, 1 or -1 up to rounding, a rank is taken; the payout of a name without any is rounding alone.
ROUNDING_IS_ALL = {"alpha101_045", "jkp_eqnpo_12m"}


def test_a_price_that_stands_still_makes_no_factor_of_its_rounding(everything, panel_of):
    """Prices in a unit larger by 3e-14 are the same prices: what changes by more than that is noise."""

    def of_scale(scale):
        panel = panel_of(420, 12, seed=21, dirty=False)
        f = panel.fields
        for name, since in enumerate((100, 200, 300)):
            f["returns"][since:, name] = 0.0
            f["market_cap"][since:, name] = f["market_cap"][since - 1, name]
            for price in PRICES:
                f[price][since:, name] = f["close"][since - 1, name]
        f["volume"][100:, 0] = f["volume"][100, 0]
        for price in (*PRICES, "market_cap"):
            f[price][:, :3] *= scale
        return computed(everything, panel)

    as_they_are, rescaled = of_scale(1.0), of_scale(1.0 + 3e-14)
    for name in everything.ids:
        a, b = as_they_are[name][:, :3], rescaled[name][:, :3]
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        if name not in ROUNDING_IS_ALL and np.isfinite(a).any():
            usual = np.nanmedian(np.abs(as_they_are[name]))
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * usual, err_msg=name)
