"""The gate: what is counted computes, and no two factors rank names alike, on the sample market and on real data."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from whole_catalogue import whole_catalogue

from factors.library import compile_library
from factors.library.definitions.census import census
from factors.library.definitions.counts import BUSY, NOT_REAL, REAL, SAMPLE
from factors.library.definitions.distinct import average_ranks, rank_correlation, ranks_of_rows, similarity
from factors.library.definitions.document import stored_counts
from factors.panel.panel import Panel
from factors.sample.market import sample_market

TWINS_ABOVE = 0.999
LEAST_COUNT = 590
CATALOGUE = whole_catalogue()
REAL_PANEL = Path(__file__).parents[5] / "shared" / "data" / "sp500_2014_2018.parquet"


def panels(n_dates=300, n_assets=120, seed=3):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(n_dates, n_assets)) for name in "abc"}


def test_a_monotone_twin_is_found_and_an_independent_one_is_not():
    values = panels()
    values["rising"], values["falling"] = np.exp(values["a"]), -(values["b"] ** 3)
    found = similarity(values)
    assert {pair[:2] for pair in found.pairs(0.999)} == {("a", "rising"), ("b", "falling")}
    assert found.clusters(0.999) == {"a": [("rising", 1.0)], "b": [("falling", 1.0)], "c": []}


def test_the_correlation_is_spearmans_over_the_common_names():
    values = panels()
    values["near"] = values["a"] + 0.02 * values["b"]
    rng = np.random.default_rng(4)
    for name, panel in values.items():
        values[name] = np.where(rng.random(panel.shape) < 0.05, np.nan, panel)
    expected = []
    for x, y in zip(values["a"], values["near"], strict=True):
        both = np.isfinite(x) & np.isfinite(y)
        if both.sum() >= 100:
            expected.append(abs(spearmanr(x[both], y[both]).statistic))
    assert rank_correlation(values["a"], values["near"]) == pytest.approx(np.mean(expected), abs=1e-12)
    found = similarity(values)
    assert found.correlation[0, 3] == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.n_dates[0, 3] == len(expected)


def test_tied_values_share_the_mean_of_their_ranks():
    np.testing.assert_array_equal(average_ranks(np.array([3.0, 1.0, 3.0, 2.0])), [3.5, 1.0, 3.5, 2.0])


def test_the_ranks_of_many_rows_are_those_of_each_with_gaps_and_ties():
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(size=(40, 60)), 1)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[3], values[4] = np.nan, 7.0
    for row, ranks in zip(values, ranks_of_rows(values), strict=True):
        there = np.isfinite(row)
        np.testing.assert_array_equal(ranks[there], average_ranks(row[there]))
        assert np.isnan(ranks[~there]).all()


def test_a_pair_without_enough_dates_or_names_is_not_compared():
    few_dates, few_names = panels(n_dates=249), panels(n_assets=99)
    assert np.isnan(similarity(few_dates).correlation).all()
    assert np.isnan(similarity(few_names).correlation).all()


@pytest.fixture(scope="module")
def sample(sample_census):
    return sample_census


@pytest.mark.timeout(600)
def test_on_the_sample_market_at_least_590_factors_compute(sample):
    assert len(sample.counted) >= LEAST_COUNT, sample.missing
    assert len(sample.counted) == stored_counts()[SAMPLE]["counted"]


@pytest.mark.timeout(600)
def test_on_the_sample_market_no_two_factors_rank_names_alike(sample):
    assert sample.similarity.pairs(TWINS_ABOVE) == []


@pytest.mark.timeout(600)
def test_where_every_name_trades_on_every_day_no_two_factors_of_volume_rank_names_alike():
    """What differs on days without a trade alone is one factor: zero trades with turnover as tie-break are turnover."""
    inputs = compile_library(CATALOGUE.entries).inputs
    of_volume = [name for name, needs in inputs.items() if {"volume", "shares", "vwap"} & set(needs)]
    busy = sample_market(quiet_share=0.0).panel
    assert not (busy.fields["volume"] == 0.0).any()
    found = census(CATALOGUE, busy, ids=of_volume, n_names=150, threads=2)
    assert len(found.counted) > 200
    assert found.similarity.pairs(TWINS_ABOVE) == []
    assert stored_counts()[BUSY]["counted"] >= LEAST_COUNT


@pytest.mark.timeout(600)
def test_on_real_data_no_two_factors_rank_names_alike():
    """Every pair over 250 dates and all 481 names."""
    if not REAL_PANEL.exists():
        pytest.skip("the real panel is not beside the project: ../shared/data/sp500_2014_2018.parquet")
    panel = Panel.from_frame(pl.read_parquet(REAL_PANEL))
    found = census(CATALOGUE, panel, without=NOT_REAL, threads=2)
    stored = stored_counts()[REAL]
    assert len(found.counted) == stored["counted"], found.missing
    assert dict(found.missing) == stored["missing"]
    assert (found.n_dates, found.n_names) == (stored["n_dates"], stored["n_names"])
    assert found.similarity.pairs(TWINS_ABOVE) == []
    for threshold, count in stored["distinct"].items():
        # below what is ranked anew in float64 the order of additions, the machine's own, can move a pair
        away = 0 if float(threshold) >= 0.99 else 2
        assert abs(len(found.similarity.clusters(float(threshold))) - count) <= away
