"""Names of one issuer share a specific covariance: sparse, positive, and contributions still sum to the total."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors import FactorModel, Panel, sample_market
from factors.portfolio.risk import portfolio_risk
from factors.risk.linked import PRIOR, PRIOR_DAYS, Linked, issuer_groups, link

REAL = Path(__file__).parents[4] / "shared" / "data" / "sp500_2014_2018.parquet"


def test_groups_are_the_issuers_with_more_than_one_name():
    groups = issuer_groups(np.array([2, 0, -1, 2, 1, 0, -1, 2]))
    assert [g.tolist() for g in groups] == [[1, 5], [0, 3, 7]]


def test_a_label_of_too_many_names_is_taken_for_none_and_told():
    """Else whoever wrote one word for an unknown issuer would not see that nothing, or everything, is linked."""
    frame = sample_market(70, 30).panel.to_frame(names={"returns": "asset_returns"})
    names = sorted(frame["symbol"].unique())
    for n_named in (6, 4):
        word = {name: "two" if name in names[:2] else "?" if i >= n_named else None for i, name in enumerate(names)}
        panel = Panel.from_frame(frame.with_columns(issuer=pl.col("symbol").replace_strict(word)))
        sizes = sorted(len(group) for group in issuer_groups(panel.categories["issuer"].codes[-1]))
        told = [(f.field, f.rows) for f in panel.quality().findings if f.kind == "issuer_of_many"]
        assert (sizes, told) == (([2, 64], []) if n_named == 6 else ([2], [("issuer", ((None, "?"),))]))


def linked_of(seed, n_assets, sizes):
    rng = np.random.default_rng(seed)
    residuals = rng.standard_normal((80, n_assets)) * 0.02
    residuals[rng.random(residuals.shape) < 0.2] = np.nan
    order = rng.permutation(n_assets)
    groups, first = [], 0
    for size in sizes:
        groups.append(np.sort(order[first : first + size]))
        first += size
    return link(groups, residuals)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), sizes=st.lists(st.integers(2, 5), min_size=0, max_size=4))
def test_the_risk_is_that_of_the_dense_covariance_and_contributions_sum_to_it(seed, sizes):
    n_assets = 21
    rng = np.random.default_rng(seed)
    linked = linked_of(seed, n_assets, sizes)
    X, F = rng.standard_normal((n_assets, 3)), np.diag(rng.random(3)) * 1e-4
    variance = (0.02 * rng.random(n_assets)) ** 2
    weights, benchmark = rng.standard_normal((3, n_assets)), rng.random(n_assets)
    delta = np.diag(variance)
    for group, correlation in zip(linked.groups, linked.correlations, strict=True):
        delta[np.ix_(group, group)] = correlation * np.sqrt(np.outer(variance[group], variance[group]))
    dense = X @ F @ X.T + delta
    assert np.linalg.eigvalsh(delta).min() > -1e-12
    risk = portfolio_risk(weights, X, F, variance, benchmark, linked=linked)
    np.testing.assert_allclose(risk.total**2, np.einsum("pi,ij,pj->p", weights, dense, weights), rtol=1e-9)
    np.testing.assert_allclose(risk.contributions.sum(axis=1), risk.total, rtol=1e-10)
    np.testing.assert_allclose(
        risk.factor_contributions.sum(axis=1) + risk.specific_contribution, risk.total, rtol=1e-10
    )
    active = weights - benchmark
    np.testing.assert_allclose(risk.active.risk.total**2, np.einsum("pi,ij,pj->p", active, dense, active), rtol=1e-9)
    np.testing.assert_allclose(
        risk.active.beta, weights @ dense @ benchmark / (benchmark @ dense @ benchmark), rtol=1e-9
    )


def test_without_data_two_classes_correlate_as_the_prior_says_and_much_data_overrules_it():
    nothing = np.full((10, 2), np.nan)
    assert link([np.array([0, 1])], nothing).correlations[0][0, 1] == PRIOR
    rng = np.random.default_rng(0)
    apart = link([np.array([0, 1])], rng.standard_normal((4000, 2))).correlations[0][0, 1]
    assert abs(apart) < 0.15
    same = np.repeat(rng.standard_normal((4000, 1)), 2, axis=1)
    n = 2 * 126 / np.log(2)  # effective days of the half-life, to first order
    expected = (n + PRIOR_DAYS * PRIOR) / (n + PRIOR_DAYS)
    assert link([np.array([0, 1])], same).correlations[0][0, 1] == pytest.approx(expected, abs=1e-3)


def test_a_selection_keeps_the_groups_that_are_left_whole_or_in_part():
    linked = linked_of(1, 12, [3, 2])
    columns = np.sort(np.array([*linked.groups[0][:2], linked.groups[1][0]]))
    part = linked.among(columns)
    assert len(part.groups) == 1
    assert columns[part.groups[0]].tolist() == linked.groups[0][:2].tolist()
    assert part.correlations[0][0, 1] == linked.correlations[0][0, 1]
    assert Linked().among(columns).groups == ()


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data")
def test_share_classes_of_the_real_market_are_predicted_within_half_as_much_again():
    model = FactorModel().fit(Panel.from_frame(pl.read_parquet(REAL)))
    latest, returns = model.latest(), model.panel_.fields["returns"]
    for pair in (("GOOG", "GOOGL"), ("NWS", "NWSA")):
        columns = np.array([latest.symbols.index(name) for name in pair])
        linked = link([columns], model.residuals_)
        for signs in ((1.0, -1.0), (0.5, 0.5)):
            weights = np.zeros((1, len(latest.symbols)))
            weights[0, columns] = signs
            predicted = portfolio_risk(
                weights, latest.exposures, latest.factor_covariance, latest.specific_variance, linked=linked
            ).total[0]
            realised = (returns[-252:, columns] @ np.array(signs)).std()
            assert 1 / 1.5 < predicted / realised < 1.5, (pair, signs, predicted, realised)
