"""A small network over features, trained walk-forward: each prediction is made by one that saw only what was over.

Source of the protocol: M. López de Prado, Advances in Financial Machine Learning (2018), chapter 7 (purging, embargo).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factors.analytics import forward_returns
from factors.analytics.cross_section import rank_rows
from factors.errors import FactorError
from factors.notebook.named import UNNAMED, Named, Names

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from sklearn.pipeline import Pipeline

Array = NDArray[np.float64]
QUANTILES = 100
RATE = 3e-3
STEPS = 200
"""Of a pass over the rows, as long as a step has 32 to 512 of them."""
ROWS_LEAST = 1000
"""Fewer rows train nothing that could be told from chance."""


@dataclass(frozen=True)
class WalkForwardSettings:
    """How a network is trained and judged.

    Attributes
    ----------
    horizon
        Days of the return that is predicted: those of ``t + 1 .. t + horizon``.
    first
        Dates before the first prediction.
    every
        Dates between two trainings.
    embargo
        Dates left out between the last label of a training and the first prediction, beyond what the label spans.
    hidden
        Units of each hidden layer, with ``max(0, x)`` behind each.
    alpha
        Penalty on the weights.
    epochs
        Passes over the rows at most.
    rows_most
        Rows of a training; of more as many are drawn.
    seed
        Of the first weights, and of what is drawn.
    """

    horizon: int = 5
    first: int = 504
    every: int = 63
    embargo: int = 5
    hidden: tuple[int, ...] = (16, 8)
    alpha: float = 1e-3
    epochs: int = 30
    rows_most: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `FactorError` for a number out of its range."""
        least = {"horizon": 1, "first": 2, "every": 1, "embargo": 0, "epochs": 1, "rows_most": ROWS_LEAST, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise FactorError(f"{name} must be at least {low}, was {getattr(self, name)}", field=name)
        if not self.hidden or min(self.hidden) < 1:
            raise FactorError("hidden must name the units of at least one layer", field="hidden")
        if self.alpha < 0.0:
            raise FactorError(f"alpha must be no less than 0, was {self.alpha}", field="alpha")


@dataclass(frozen=True)
class Training:
    """What one training saw: the rows of its dates [0, last), and the dates that it predicts."""

    last: int
    predicts: slice
    n_rows: int


@dataclass(frozen=True)
class WalkForward(Named):
    """Predictions, each out of sample, and what trained for them.

    Attributes
    ----------
    scores : float64 [n_dates, n_assets]
        NaN where a feature is missing and before the first prediction.
    trainings : tuple of Training
    estimator : Pipeline
        Trained on all dates whose labels are over: for the dates that are to come.
    names
        Of dates and assets, where they were given (`named`).
    """

    scores: Array
    trainings: tuple[Training, ...]
    estimator: Pipeline
    names: Names = UNNAMED

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each date and name that has a prediction."""
        return self.frame({"score": self.scores}, "dates", "assets").drop_nulls("score")

    def _axes(self) -> Mapping[str, int]:
        return {"dates": self.scores.shape[0], "assets": self.scores.shape[1]}

    def _caption(self) -> str:
        return f"Predictions of {len(self.trainings)} trainings, each out of sample"

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import histogram

        histogram(axes, self.scores[np.isfinite(self.scores)], title=self._caption())


def relative_labels(returns: Array, horizon: int) -> Array:
    """Give each name's place among the forward returns of its date, in [-0.5, 0.5], [n_dates, n_assets]; NaN for none.

    A place instead of a return: what all names do together is not to be learnt, nor is one name's leap.
    """
    ranks = rank_rows(forward_returns(returns, horizon))
    counts = np.isfinite(ranks).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(counts > 1, (ranks - 1.0) / (counts - 1.0) - 0.5, np.nan))


def walk_forward(
    features: Array,
    returns: Array,
    settings: WalkForwardSettings,
    progress: Callable[[int, int], None] | None = None,
) -> WalkForward:
    """Train again every so many dates on what was over by then, and predict up to the next training.

    Parameters
    ----------
    features : float64 [n_features, n_dates, n_assets]
        Known at the close of their date; NaN where missing.
    returns : float64 [n_dates, n_assets]
    progress
        Told how many trainings are done, and how many there will be.

    Raises
    ------
    FactorError
        Shapes that do not fit, too few dates, or too few rows to train on.
    """
    _, n_dates, n_assets = features.shape
    if returns.shape != (n_dates, n_assets):
        raise FactorError(f"returns must have shape {(n_dates, n_assets)}, have {returns.shape}", field="returns")
    labels = relative_labels(returns, settings.horizon)
    there: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=0))
    scores = np.full((n_dates, n_assets), np.nan)
    plan = list(_plan(n_dates, settings))
    done: list[Training] = []
    for number, (last, predicts) in enumerate(plan):
        estimator, n_rows = _trained(features, labels, there, last, settings)
        rows = there[predicts]
        if rows.any():
            block = scores[predicts]
            block[rows] = estimator.predict(features[:, predicts][:, rows].T)
            scores[predicts] = block
        done.append(Training(last, predicts, n_rows))
        if progress is not None:
            progress(number + 1, len(plan) + 1)
    final, _ = _trained(features, labels, there, n_dates - settings.horizon, settings)
    if progress is not None:
        progress(len(plan) + 1, len(plan) + 1)
    return WalkForward(scores, tuple(done), final)


def _plan(n_dates: int, settings: WalkForwardSettings) -> Iterator[tuple[int, slice]]:
    """Yield, for each training, the dates that it has, [0, last), and those that it predicts.

    A prediction is made at the close of its date. The label of date t is over at the close of t + horizon.
    """
    if settings.first >= n_dates:
        raise FactorError(
            f"the first {settings.first} dates train, and there are {n_dates} in all: nothing is left to judge by",
            field="first",
        )
    for begin in range(settings.first, n_dates, settings.every):
        yield begin - settings.horizon - settings.embargo + 1, slice(begin, min(begin + settings.every, n_dates))


def _trained(
    features: Array, labels: Array, there: NDArray[np.bool_], last: int, settings: WalkForwardSettings
) -> tuple[Pipeline, int]:
    rows = np.zeros_like(there)
    rows[: max(last, 0)] = (there & np.isfinite(labels))[: max(last, 0)]
    at, name = np.nonzero(rows)
    if len(at) < ROWS_LEAST:
        raise FactorError(
            f"{len(at)} rows have every feature and a label by date {max(last, 0)}; at least {ROWS_LEAST} train a "
            "network: take a later first prediction, or features that look back less far",
            field="first",
        )
    if len(at) > settings.rows_most:
        chosen = np.random.default_rng(settings.seed).choice(len(at), settings.rows_most, replace=False)
        chosen.sort()
        at, name = at[chosen], name[chosen]
    estimator = make_estimator(settings, len(at))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Stochastic Optimizer: Maximum iterations", UserWarning
        )  # as many as asked for
        estimator.fit(features[:, at, name].T, labels[at, name])
    vars(estimator[-1]).pop("_optimizer", None)  # trains no further, and is as large as the weights
    return estimator, len(at)


def make_estimator(settings: WalkForwardSettings, n_rows: int) -> Any:
    """Make the network for so many rows: features by their place in the training's distribution, then dense layers.

    The places bound what a feature can do on a day unlike all before it.
    """
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    places = QuantileTransformer(n_quantiles=QUANTILES, subsample=50_000, random_state=settings.seed)
    network = MLPRegressor(
        hidden_layer_sizes=settings.hidden,
        alpha=settings.alpha,
        learning_rate_init=RATE,
        batch_size=int(np.clip(n_rows // STEPS, 32, 512)),
        max_iter=settings.epochs,
        n_iter_no_change=settings.epochs + 1,
        random_state=settings.seed,
    )
    return make_pipeline(places, StandardScaler(), network)
