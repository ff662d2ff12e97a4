"""Charts of the validation report as SVG text. Needs matplotlib (`pip install factor-engine[report]`)."""

import io
from typing import TYPE_CHECKING

import numpy as np

from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.panel.frequency import periods_per_year
from factors.risk.arrays import FloatArray, IntArray
from factors.validation.backtest import LayerOutcome
from factors.validation.statistics import (
    bias_interval,
    bias_statistic,
    rolling_bias,
    standardized_outcomes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLLING_DAYS = 252
REALISED_DAYS = 21


def charts(model: FactorModel, rows: IntArray, outcomes: list[LayerOutcome]) -> list[tuple[str, str]]:
    """Return pairs of a caption and an SVG, of the one-day forecasts.

    Raises
    ------
    FactorError
        Without matplotlib.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FactorError("the report needs matplotlib: pip install factor-engine[report]", field="report") from error
    # A fixed salt, so that the same figures give the same bytes.
    with rc_context({"svg.hashsalt": "factor-engine", "font.size": 9, "axes.spines.top": False}):
        drawn = []
        pictures = [
            ("Mean bias statistic by layer", _bias_by_layer),
            ("Bias statistic over the last 252 days, cap-weighted portfolio", _rolling),
            ("Bias statistic of the random portfolios", _histogram),
            ("Annual volatility of the cap-weighted portfolio: full model and realised over 21 days", _volatility),
            ("Volatility regime multipliers of the full model", _regime),
            ("Bias statistic of each factor, full model, with the 95 % interval", _by_factor),
        ]
        if outcomes[-1].factor_experts:
            pictures.append(("Weights of the experts on factor volatilities", _factor_weights))
        if outcomes[-1].specific_experts:
            pictures.append(("Weights of the experts on specific variances", _specific_weights))
        for caption, draw in pictures:
            figure = Figure(figsize=(7.2, 3.6), layout="constrained")
            axes = figure.subplots()
            draw(axes, model, rows, outcomes)
            axes.grid(axis="y", color="#e3e7ec", linewidth=0.7)
            axes.set_axisbelow(True)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False, fontsize=8, ncols=2)
            drawn.append((caption, _svg(figure)))
    return drawn


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _bias_by_layer(axes: "Axes", _: FactorModel, __: IntArray, outcomes: list[LayerOutcome]) -> None:
    families = ("factor", "sector", "random", "cap-weighted", "minimum-variance")
    width = 0.8 / len(outcomes)
    for i, outcome in enumerate(outcomes):
        means = []
        for family in families:
            bias = bias_statistic(standardized_outcomes(outcome.returns[family], outcome.volatility[family]))
            means.append(bias[~np.isnan(bias)].mean())
        axes.bar(np.arange(len(families)) + (i - 0.5 * (len(outcomes) - 1)) * width, means, width, label=outcome.name)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_ylim(bottom=0.8)
    axes.set_xticks(np.arange(len(families)), families)


def _rolling(axes: "Axes", model: FactorModel, rows: IntArray, outcomes: list[LayerOutcome]) -> None:
    dates = model.dates_[rows]
    window = min(ROLLING_DAYS, max(dates.size // 2, 2))
    for outcome in (outcomes[0], outcomes[1], outcomes[-1]):
        b = standardized_outcomes(outcome.returns["cap-weighted"], outcome.volatility["cap-weighted"])
        axes.plot(dates[window - 1 :], rolling_bias(b, window)[:, 0], label=outcome.name)
    low, high = bias_interval(window)
    axes.axhspan(low, high, color="#dff3e4", zorder=0)
    axes.axhline(1.0, color="black", linewidth=0.8)


def _histogram(axes: "Axes", _: FactorModel, __: IntArray, outcomes: list[LayerOutcome]) -> None:
    for outcome in (outcomes[0], outcomes[1], outcomes[-1]):
        bias = bias_statistic(standardized_outcomes(outcome.returns["random"], outcome.volatility["random"]))
        axes.hist(bias[~np.isnan(bias)], bins=30, alpha=0.6, label=outcome.name)
    low, high = bias_interval(outcomes[-1].returns["random"].shape[0])
    axes.axvspan(low, high, color="#dff3e4", zorder=0)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_ylabel("portfolios")
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend


def _volatility(axes: "Axes", model: FactorModel, rows: IntArray, outcomes: list[LayerOutcome]) -> None:
    dates = model.dates_[rows]
    year = np.sqrt(periods_per_year(model.dates_))
    full = outcomes[-1]
    axes.plot(dates, full.volatility["cap-weighted"][:, 0] * year, label="predicted")
    squares = full.returns["cap-weighted"][:, 0] ** 2
    window = min(REALISED_DAYS, squares.size)
    realised = np.sqrt(np.convolve(squares, np.full(window, 1.0 / window), mode="valid"))
    axes.plot(dates[window - 1 :], realised * year, label="realised", linewidth=0.8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100.0 * value:.0f} %")


def _regime(axes: "Axes", model: FactorModel, rows: IntArray, outcomes: list[LayerOutcome]) -> None:
    dates = model.dates_[rows]
    axes.plot(dates, outcomes[-1].regime, label="factor covariance")
    axes.plot(dates, outcomes[-1].specific_regime, label="specific risk")
    axes.axhline(1.0, color="black", linewidth=0.8)


def _by_factor(axes: "Axes", model: FactorModel, _: IntArray, outcomes: list[LayerOutcome]) -> None:
    full = outcomes[-1]
    bias = bias_statistic(standardized_outcomes(full.returns["factor"], full.volatility["factor"]))
    low, high = bias_interval(full.returns["factor"].shape[0])
    known = np.flatnonzero(~np.isnan(bias))
    axes.axhspan(low, high, color="#dff3e4", zorder=0)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.plot(np.arange(known.size), bias[known], "o", markersize=4)
    axes.set_xticks(np.arange(known.size), [model.factor_names_[k] for k in known], rotation=60, ha="right", fontsize=7)


def _factor_weights(axes: "Axes", model: FactorModel, rows: IntArray, outcomes: list[LayerOutcome]) -> None:
    _stacked(axes, model, rows, outcomes[-1].factor_experts, outcomes[-1].factor_weights)


def _specific_weights(axes: "Axes", model: FactorModel, rows: IntArray, outcomes: list[LayerOutcome]) -> None:
    _stacked(axes, model, rows, outcomes[-1].specific_experts, outcomes[-1].specific_weights)


def _stacked(axes: "Axes", model: FactorModel, rows: IntArray, names: tuple[str, ...], weights: FloatArray) -> None:
    axes.stackplot(model.dates_[rows], weights.T, labels=names, alpha=0.85)
    axes.set_ylim(0.0, 1.6)  # room for the legend
    axes.set_yticks([0.0, 0.5, 1.0])
