"""What of scikit-learn is a network of dense layers: its weights, for any device; all else stays with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from factors.learning.dense import DenseNetwork, Places, Scaler, Step

LETTERS = {"relu": "r", "tanh": "t", "logistic": "s", "identity": "i"}


def network_of(estimator: Any) -> DenseNetwork | None:
    """Give the network that a fitted estimator is: an `MLPRegressor` of one output, alone or behind scalers.

    None for any other estimator, subclasses among them: what they add is not known here.
    """
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import Pipeline

    parts = [part for _, part in estimator.steps] if type(estimator) is Pipeline else [estimator]
    last = parts[-1]
    if type(last) is not MLPRegressor or last.out_activation_ != "identity" or last.n_outputs_ != 1:
        return None
    steps: list[Step] = []
    for part in parts[:-1]:
        if isinstance(part, str) and part == "passthrough":
            continue
        step = _step_of(part, int(last.coefs_[0].shape[0]))
        if step is None:
            return None
        steps.append(step)
    letters = LETTERS[last.activation] * (len(last.coefs_) - 1) + "i"
    layers: list[Any] = []
    for weights, offsets in zip(last.coefs_, last.intercepts_, strict=True):
        layers += [np.asarray(weights, np.float64), np.asarray(offsets, np.float64)]
    return DenseNetwork(tuple(steps), letters, tuple(layers))


def _step_of(part: Any, n_inputs: int) -> Step | None:
    """Give a fitted scaler as a step; None for one that does more than a step can."""
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

    none, one = np.zeros(n_inputs), np.ones(n_inputs)
    kind = type(part)
    if kind is QuantileTransformer and part.output_distribution == "uniform":
        return Places(np.asarray(part.quantiles_, np.float64), np.asarray(part.references_, np.float64))
    if kind is StandardScaler:
        # It has a mean though it does not subtract it.
        return _scaler(part.mean_ if part.with_mean else none, part.scale_ if part.with_std else one)
    if kind is RobustScaler:
        return _scaler(part.center_ if part.with_centering else none, part.scale_ if part.with_scaling else one)
    if kind is MaxAbsScaler:
        return _scaler(none, part.scale_)
    if kind is MinMaxScaler and not part.clip:
        # x * scale + min, with the scale first: a column that was constant has one too.
        return Scaler(-np.asarray(part.min_, np.float64) / part.scale_, np.asarray(part.scale_, np.float64))
    return None


def _scaler(center: Any, divisor: Any) -> Scaler:
    return Scaler(np.asarray(center, np.float64), 1.0 / np.asarray(divisor, np.float64))
