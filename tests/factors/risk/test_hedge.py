import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from factors.risk.ewma import decay
from factors.risk.hedge import LOSS_RANGE, hedge_step, hedge_weights

LOSSES = arrays(np.float64, st.tuples(st.integers(1, 60), st.integers(1, 6)), elements=st.floats(-3.0, 3.0))


def run(losses, half_life, learning_rate, even_share=0.0):
    """Weights before each day `[n_dates, E]`."""
    kept, weights = np.zeros(losses.shape[1]), []
    for today in losses:
        weights.append(hedge_weights(kept, learning_rate, even_share))
        hedge_step(kept, today, decay(half_life))
    return np.array(weights)


@settings(deadline=None)  # the first call compiles
@given(losses=LOSSES, half_life=st.floats(2.0, 200.0), learning_rate=st.floats(0.01, 3.0), share=st.floats(0.0, 0.9))
def test_the_discounted_regret_against_every_expert_is_within_the_bound(losses, half_life, learning_rate, share):
    weights = run(losses, half_life, learning_rate, share)
    assert weights.min() >= share / losses.shape[1] * (1.0 - 1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    above = np.minimum(losses - losses.min(axis=1, keepdims=True), LOSS_RANGE)
    gamma = decay(half_life)
    discount = gamma ** np.arange(len(losses))[::-1]
    regret = discount @ ((weights * above).sum(axis=1)[:, None] - above)
    bound = np.log(losses.shape[1]) / learning_rate + learning_rate * LOSS_RANGE**2 / 8.0 / (1.0 - gamma)
    bound += share * LOSS_RANGE / (1.0 - gamma)
    assert (regret <= bound + 1e-9).all()


def test_weights_follow_the_expert_that_loses_least_and_forget():
    losses = np.repeat([[0.0, 1.0], [1.0, 0.0]], 100, axis=0)
    weights = run(np.vstack([losses, losses[:1]]), 20.0, 1.0)
    assert weights[0] == pytest.approx([0.5, 0.5])
    assert weights[100, 0] > 0.99
    assert weights[200, 1] > 0.99


def test_one_terrible_day_counts_no_more_than_the_range():
    one, other = np.zeros(2), np.zeros(2)
    hedge_step(one, np.array([0.0, LOSS_RANGE]), 0.5)
    hedge_step(other, np.array([0.0, 1e6]), 0.5)
    assert one.tolist() == other.tolist() == [0.0, 0.5 * LOSS_RANGE]


@given(
    forecasts=arrays(np.float64, 4, elements=st.floats(1e-3, 1e3)),
    raw=arrays(np.float64, 4, elements=st.floats(0.01, 1.0)),
    square=st.floats(0.0, 1e4),
)
def test_a_mixture_loses_at_most_the_mean_loss_and_the_spread_of_its_experts(forecasts, raw, square):
    weights = raw / raw.sum()
    mixture = weights @ forecasts
    mean_loss = weights @ (square / forecasts + np.log(forecasts))
    spread = np.log(mixture) - weights @ np.log(forecasts)
    assert square / mixture + np.log(mixture) <= mean_loss + spread + 1e-9 * (1.0 + abs(mean_loss))
