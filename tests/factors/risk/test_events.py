"""What follows an event, against the same written out name by name."""

from dataclasses import replace

import numpy as np
import pytest

from factors.risk.events import HALF_LIFE_DAYS, LIMIT, PRIOR_NAME_DAYS, event_multipliers
from factors.risk.settings import SpecificRiskSettings
from factors.risk.specific import SpecificRisk

SETTINGS = SpecificRiskSettings(
    half_life="adaptive",
    expert_half_lives=(10.0, 40.0),
    expert_even_share=0.3,
    newey_west_lags=0,
    blend_history=(0, 0),
    bayes_shrinkage=0.0,
    regime_half_life=15.0,
    regime_min_observations=5,
    event_days=3,
)


def jumps(n_days, n_names, restless, seed=0):
    """Specific returns with a jump of a name on one day in fifty; three days after it move `restless` times as much."""
    rng = np.random.default_rng(seed)
    jumped = rng.random((n_days, n_names)) < 0.02
    near = np.zeros_like(jumped)
    for back in (1, 2, 3):
        near[back:] |= jumped[:-back]
    rows = 0.01 * rng.standard_normal((n_days, n_names)) * np.where(near, restless, 1.0)
    rows[jumped] = 0.09 * rng.choice([-1.0, 1.0], jumped.sum())
    return rows


def test_multipliers_are_what_followed_events_before_name_by_name():
    rows = jumps(90, 12, 2.0)
    rows[40:50, 3] = rows[:30, 4] = np.nan
    rows[-1, 0] = rows[-2, 1] = 0.2
    plain = SpecificRisk(replace(SETTINGS, event_days=0))
    age = dict.fromkeys(range(12), np.inf)
    learnt = np.zeros((2, 3))
    for t, row in enumerate(rows):
        known = None if t == 0 else plain.specific_variance_
        learnt *= 0.5 ** (1.0 / HALF_LIFE_DAYS)
        for name in range(12):
            before, age[name] = age[name], age[name] + 1
            if known is None or np.isnan(row[name]) or plain.history_[name] < 5:
                continue
            ratio = row[name] ** 2 / known[name]
            if before < 3:
                learnt[0, int(before)] += min(ratio, LIMIT)
                learnt[1, int(before)] += 1.0
            if ratio > 9.0:
                age[name] = 0
        plain.update(row)
    by_age = (PRIOR_NAME_DAYS + learnt[0]) / (PRIOR_NAME_DAYS + learnt[1])
    expected = np.array([by_age[int(age[name])] if age[name] < 3 else 1.0 for name in range(12)])
    assert (expected != 1.0).sum() >= 2
    found = SpecificRisk(SETTINGS).fit(rows).specific_variance_
    np.testing.assert_allclose(found, plain.specific_variance_ * expected, rtol=1e-9)


def test_a_day_added_gives_the_bits_of_a_fit_while_names_join():
    rows = jumps(120, 9, 2.0, seed=3)
    rows[:50, 6:] = np.nan
    added = SpecificRisk(SETTINGS).fit(rows[:50, :6])
    for row in rows[50:]:
        added = SpecificRisk(SETTINGS).restore(added.state()).update(row)
    assert np.array_equal(added.specific_variance_, SpecificRisk(SETTINGS).fit(rows).specific_variance_)


@pytest.mark.parametrize(("restless", "low", "high"), [(1.0, 0.4, 1.0), (3.0, 1.5, 4.5)])
def test_a_restless_market_is_told_from_one_that_forgets(restless, low, high):
    """Where nothing follows, the jump in the average leaves variances too high, and the multiplier is below 1."""
    settled = SpecificRisk(replace(SETTINGS, expert_half_lives=(84.0,)))
    settled.fit(jumps(800, 40, restless, seed=1))
    state = settled.state()
    multipliers = event_multipliers(np.array([0.0, 1.0, 2.0, 3.0, np.inf]), state["event_learnt"], 1)
    assert (multipliers[:3] > low).all()
    assert (multipliers[:3] < high).all()
    assert (multipliers[3:] == 1.0).all()


def test_a_longer_horizon_has_the_mean_of_its_days():
    learnt = np.array([[300.0, 200.0], [100.0, 100.0]])
    one, two = event_multipliers(np.array([0.0, 1.0]), learnt, 1)
    assert (one, two) == (2.0, 1.5)
    np.testing.assert_allclose(event_multipliers(np.array([0.0, 1.0, 2.0]), learnt, 4), [5.5 / 4, 4.5 / 4, 1.0])
