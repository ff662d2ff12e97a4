"""A network that is trained walk-forward: it learns what is there, and sees nothing that was not over."""

from dataclasses import replace

import numpy as np
import pytest

from factors.errors import FactorError
from factors.learning import WalkForwardSettings, judge, walk_forward
from factors.learning.walk_forward import relative_labels

N_DATES, N_ASSETS = 160, 60
SETTINGS = WalkForwardSettings(horizon=3, first=80, every=30, embargo=2, hidden=(6,), epochs=40)

QUICK = replace(SETTINGS, epochs=2)
"""Where it does not matter how well it learns."""


def market(signal=1.0, seed=0):
    """Features, the first of which says something of the next day's return, though not in a straight line."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((3, N_DATES, N_ASSETS))
    returns = 0.01 * rng.standard_normal((N_DATES, N_ASSETS))
    returns[1:] += 0.01 * signal * (np.abs(features[0, :-1]) - 0.8)
    return features, returns


def test_labels_are_places_among_the_names_of_a_date():
    returns = np.array([[0.0, 0.0, 0.0, 0.0], [0.03, -0.01, 0.02, np.nan], [0.0, 0.1, np.nan, 0.0]])
    labels = relative_labels(returns, 1)
    np.testing.assert_allclose(labels[0], [0.5, -0.5, 0.0, np.nan])
    np.testing.assert_allclose(labels[1], [-0.25, 0.5, np.nan, -0.25])
    assert np.isnan(labels[2]).all()


def test_it_learns_what_is_there_and_nothing_where_nothing_is():
    for signal, low, high in ((1.0, 0.3, 1.0), (0.0, -0.1, 0.1)):
        features, returns = market(signal)
        made = walk_forward(features, returns, SETTINGS)
        found = judge(made.scores, features[0], returns, 1, trials=1)
        assert low < found.own.mean < high
        assert abs(found.plain.mean) < 0.1, "in a straight line there is nothing"
        assert found.interval[0] < found.difference < found.interval[1]


def test_no_prediction_sees_what_was_not_over():
    features, returns = market()
    made = walk_forward(features, returns, QUICK)
    for training in made.trainings:
        begin = training.predicts.start
        # The label of the last date in training is over an embargo before the first prediction.
        assert training.last - 1 + QUICK.horizon + QUICK.embargo == begin
        changed_returns, changed_features = returns.copy(), features.copy()
        over = begin - QUICK.embargo
        changed_returns[over + 1 :] *= -3.0
        changed_features[:, training.last : begin] += 1.0
        again = walk_forward(changed_features, changed_returns, QUICK)
        np.testing.assert_array_equal(again.scores[training.predicts], made.scores[training.predicts])
    changed = returns.copy()
    changed[made.trainings[0].last + QUICK.horizon - 1] *= -3.0
    assert not np.array_equal(
        walk_forward(features, changed, QUICK).scores[80:110], made.scores[80:110], equal_nan=True
    ), "what was over counts"


def test_every_date_is_predicted_once_and_a_missing_feature_gives_none():
    features, returns = market()
    features[1, 90, 5] = np.nan
    made = walk_forward(features, returns, QUICK)
    assert np.isnan(made.scores[:80]).all()
    missing = np.isnan(made.scores[80:])
    assert missing.sum() == 1
    assert missing[10, 5]
    assert [training.predicts for training in made.trainings] == [slice(80, 110), slice(110, 140), slice(140, 160)]


def test_a_run_is_repeated_to_the_bit():
    features, returns = market()
    one, other = (walk_forward(features, returns, QUICK) for _ in range(2))
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.estimator.predict(features[:, -1].T), other.estimator.predict(features[:, -1].T))


def test_the_difference_is_of_the_same_names_and_dates_and_has_its_interval():
    rng = np.random.default_rng(3)
    returns = rng.standard_normal((50, 30)) * 0.01
    plain, scores = rng.standard_normal((2, 50, 30))

    def places(values):
        return np.argsort(np.argsort(values, axis=1), axis=1)

    daily = [
        [
            np.corrcoef(row, following)[0, 1]
            for row, following in zip(places(each)[:-1], places(returns)[1:], strict=True)
        ]
        for each in (scores, plain)
    ]
    apart = np.subtract(*daily)
    found = judge(scores, plain, returns, 1, trials=5)
    assert found.own.mean == pytest.approx(np.mean(daily[0]))
    assert found.difference == pytest.approx(apart.mean())
    error = apart.std(ddof=1) / np.sqrt(49)
    assert found.t_statistic == pytest.approx(apart.mean() / error)
    assert found.interval == pytest.approx((apart.mean() - 1.959964 * error, apart.mean() + 1.959964 * error), rel=1e-5)
    alone = judge(scores, plain, returns, 1, trials=1).p_adjusted
    assert found.p_adjusted == pytest.approx(1.0 - (1.0 - alone) ** 5)
    scores[4] = np.nan
    gone = judge(scores, plain, returns, 1, trials=1)
    assert gone.own.n_dates == gone.plain.n_dates == 48


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"horizon": 0}, "horizon"),
        ({"first": 160}, "first"),
        ({"first": 12}, "first"),
        ({"hidden": ()}, "hidden"),
        ({"alpha": -1.0}, "alpha"),
    ],
)
def test_what_cannot_be_is_named(changes, field):
    features, returns = market()
    with pytest.raises(FactorError) as caught:
        walk_forward(features, returns, WalkForwardSettings(**{**vars(QUICK), **changes}))
    assert caught.value.field == field


def test_shapes_that_do_not_fit_are_named():
    features, returns = market()
    with pytest.raises(FactorError, match="returns must have shape"):
        walk_forward(features, returns[1:], QUICK)
