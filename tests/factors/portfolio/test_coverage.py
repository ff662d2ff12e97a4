"""Holdings outside coverage are refused, left out by name, or stood in for; never counted as riskless in silence."""

import numpy as np
import pytest

from factors import FactorModel, sample_market
from factors.errors import FactorError, NonFiniteError
from factors.portfolio.coverage import Stand, cover
from factors.portfolio.risk import portfolio_risk


@pytest.fixture(scope="module")
def gone():
    """A fitted market whose first name has no cap on the last day."""
    panel = sample_market(n_assets=60, n_days=120, seed=3).panel
    caps = panel.fields["market_cap"].copy()
    caps[-1, 0] = np.nan
    return FactorModel().fit(panel.with_fields(market_cap=caps)), caps


def alone(n, *positions):
    weights = np.zeros((1, n))
    weights[0, list(positions)] = 1.0 / len(positions)
    return weights


def test_exposures_of_a_name_without_a_cap_are_missing_and_its_risk_is_refused(gone):
    latest = gone[0].latest()
    assert np.isnan(latest.exposures[0]).all()
    assert np.isfinite(latest.exposures[latest.covered]).all()
    with pytest.raises(NonFiniteError, match="missing for 1 assets that have weight"):
        portfolio_risk(
            alone(len(latest.symbols), 0), latest.exposures, latest.factor_covariance, latest.specific_variance
        )


def stand_of(model, caps):
    latest = model.latest()
    sector = model.panel_.categories["sector"]
    return latest, Stand(
        model.scores_[-1],
        latest.covered,
        sector.codes[-1].astype(int),
        len(model.sector_names_),
        caps[-2],
        latest.specific_variance,
    )


def test_a_name_that_is_left_out_is_told_with_its_share_and_bears_no_risk(gone):
    latest, _ = stand_of(*gone)
    weights = alone(len(latest.symbols), 0, 1, 2, 3)
    found = cover(weights, latest.exposures, latest.specific_variance)
    assert found.uncovered.tolist() == [0]
    assert found.share.tolist() == [0.25]
    assert found.weights[0, :4].tolist() == [0.0, 0.25, 0.25, 0.25]


def test_a_book_of_nothing_but_uncovered_names_is_an_error(gone):
    latest, _ = stand_of(*gone)
    with pytest.raises(NonFiniteError, match=f"nothing that the model covers.*{latest.symbols[0]}"):
        cover(alone(len(latest.symbols), 0), latest.exposures, latest.specific_variance, symbols=latest.symbols)


def test_refusing_names_what_is_not_covered(gone):
    latest, _ = stand_of(*gone)
    with pytest.raises(NonFiniteError, match=latest.symbols[0]) as caught:
        cover(
            alone(len(latest.symbols), 0, 1),
            latest.exposures,
            latest.specific_variance,
            "refuse",
            symbols=latest.symbols,
            field="benchmark_weights",
        )
    assert caught.value.field == "benchmark_weights"


def test_a_proxy_has_its_sectors_mean_styles_and_the_risk_of_its_size(gone):
    model, caps = gone
    latest, stand = stand_of(model, caps)
    found = cover(alone(len(latest.symbols), 0), latest.exposures, latest.specific_variance, "proxy", stand=stand)
    sector = stand.sectors[0]
    peers = stand.known & (stand.sectors == sector)
    expected = np.average(latest.exposures[peers], axis=0, weights=caps[-2, peers])
    np.testing.assert_allclose(found.exposures[0], expected, atol=1e-12)
    used = stand.known & (latest.specific_variance > 0)
    slope, level = np.polyfit(np.log(caps[-2, used]), np.log(latest.specific_variance[used]), 1)
    assert found.specific_variance[0] == pytest.approx(np.exp(level + slope * np.log(caps[-2, 0])), rel=1e-9)
    np.testing.assert_array_equal(found.exposures[1:], latest.exposures[1:])
    assert (
        portfolio_risk(found.weights, found.exposures, latest.factor_covariance, found.specific_variance).total[0] > 0.0
    )


def test_a_proxy_of_a_name_in_several_sectors_has_its_shares_and_the_means_of_each():
    """Dense algebra: M memberships, w caps, S styles: sector means are (M' W S) / (M' w), a name's own m times them."""
    rng = np.random.default_rng(0)
    n, k, styles = 40, 4, 3
    shares = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.25, 0.75, 0.0], [0.1, 0.2, 0.3, 0.4]])
    codes = rng.integers(0, k + len(shares), n)
    codes[:3] = k + np.arange(3)
    known = rng.random(n) > 0.2
    known[:4] = False
    scores, caps = rng.standard_normal((styles, n)), np.exp(rng.normal(size=n))
    stand = Stand(scores, known, codes, k, caps, np.exp(rng.normal(size=n)), shares)
    M = np.vstack([np.eye(k), shares])[codes]
    w = np.where(known, caps, 0.0)
    means = (M.T * w) @ scores.T / (M.T @ w)[:, None]
    found = stand.exposures(np.arange(4))
    np.testing.assert_array_equal(found[:, 0], 1.0)
    np.testing.assert_array_equal(found[:, 1 : 1 + k], M[:4])
    np.testing.assert_allclose(found[:, 1 + k :], M[:4] @ means, rtol=1e-12)
    # Of names in one sector each it is what it was: the mean over the sector's own names.
    whole = Stand(scores, known, codes % k, k, caps, stand.variance, shares)
    for column in range(4):
        peers = known & (codes % k == codes[column] % k)
        mean = scores[:, peers] @ caps[peers] / caps[peers].sum()
        np.testing.assert_allclose(whole.exposures(np.array([column]))[0, 1 + k :], mean, rtol=1e-12)


def test_a_proxy_without_sector_or_cap_is_the_market_at_the_median(gone):
    model, caps = gone
    latest, stand = stand_of(model, caps)
    sectors, last = stand.sectors.copy(), stand.caps.copy()
    sectors[0], last[0] = -1, np.nan
    blind = Stand(stand.scores, stand.known, sectors, stand.n_sectors, last, stand.variance)
    row = blind.exposures(np.array([0]))[0]
    assert row[0] == 1.0
    assert not row[1 : 1 + blind.n_sectors].any()
    used = stand.known & (latest.specific_variance > 0)
    assert blind.specific_variance(np.array([0]))[0] == pytest.approx(
        np.exp(np.median(np.log(latest.specific_variance[used])))
    )


def test_a_proxy_needs_something_to_stand_on(gone):
    latest, _ = stand_of(*gone)
    with pytest.raises(FactorError, match="proxies need"):
        cover(alone(len(latest.symbols), 0), latest.exposures, latest.specific_variance, "proxy")
