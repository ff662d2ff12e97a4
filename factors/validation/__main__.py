"""`python -m factors.validation [DATA] [--out DIR]`: validate the risk model on a file and write a report."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from factors.errors import FactorError
from factors.factor_model.frames import features_panel
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.panel.panel import Panel
from factors.risk.settings import ADAPTIVE, FactorCovarianceSettings, SpecificRiskSettings
from factors.sample.market import sample_market
from factors.validation.backtest import BacktestSettings, backtest
from factors.validation.charts import charts
from factors.validation.layers import layers
from factors.validation.page import page
from factors.validation.peer import peer_outcome, skfolio_forecasts
from factors.validation.report import horizon_figures, peer_figures, report_figures

HORIZONS = (1, 21)


def at_horizon(settings: ModelSettings, days: int) -> tuple[FactorCovarianceSettings, SpecificRiskSettings]:
    """Return settings of risk whose experts and lags, where half-lives are adaptive, are those for so many days."""
    covariance, specific = settings.factor_covariance, settings.specific_risk
    if covariance.volatility_half_life == ADAPTIVE and covariance.horizon_days != days:
        ahead = FactorCovarianceSettings.adaptive(days)
        covariance = replace(
            covariance,
            horizon_days=days,
            expert_half_lives=ahead.expert_half_lives,
            volatility_lags=ahead.volatility_lags,
            expert_learning_rate=ahead.expert_learning_rate,
            expert_even_share=ahead.expert_even_share,
            market_asymmetry=ahead.market_asymmetry,
            eigenfactor_simulations=ahead.eigenfactor_simulations,
            correlation_shrinkage=ahead.correlation_shrinkage,
            correlation_observations=ahead.correlation_observations,
        )
    if specific.half_life == ADAPTIVE and specific.horizon_days != days:
        later = SpecificRiskSettings.adaptive(days)
        specific = replace(
            specific,
            horizon_days=days,
            expert_half_lives=later.expert_half_lives,
            newey_west_lags=later.newey_west_lags,
            bayes_shrinkage=later.bayes_shrinkage,
            blend_history=later.blend_history,
            event_days=later.event_days,
        )
    return covariance, specific


def validate(
    panel: Panel, model_settings: ModelSettings, settings: BacktestSettings, out: Path, peer: Path | None = None
) -> dict[str, Any]:
    """Validate on a panel, write `validation.html` and `validation.json` into `out`, and return the figures.

    `peer` is a Python that has skfolio, whose model is then held beside ours.
    """
    model = FactorModel(model_settings).set_panel(panel)
    model.estimate_style_scores().estimate_factor_returns()
    theirs = None if peer is None else skfolio_forecasts(peer, model, settings.burn_in)
    horizons, drawn = [], []
    for horizon in HORIZONS:
        held = replace(settings, horizon=horizon)
        chosen = layers(*at_horizon(model_settings, horizon), settings.window)
        rows, outcomes = backtest(model, chosen, held)
        figures = horizon_figures(model, held, rows, outcomes)
        if theirs is not None:
            figures["peer"] = peer_figures(outcomes[-1], peer_outcome(model, theirs, held), held)
        horizons.append(figures)
        if horizon == HORIZONS[0]:
            drawn = charts(model, rows, outcomes)
    figures = report_figures(model, settings, horizons)
    out.mkdir(parents=True, exist_ok=True)
    (out / "validation.json").write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
    (out / "validation.html").write_text(page(figures, drawn))
    return figures


def _share(value: float | None) -> str:
    return "      -" if value is None else f"{value:7.2%}"


def specific_lines(groups: list[dict[str, Any]]) -> list[str]:
    """Return lines of specific risk by group of names."""
    lines = ["specific risk: days, names a day, bias and QLIKE of the portfolio, bias and VaR 99 % of the names"]
    lines += [
        f"  {group['group']:17} {group['n_days']:5d} {group['names_a_day']:7.1f} {group['portfolio_bias']:6.3f} "
        f"{group['portfolio_qlike']:6.3f} {group['name_bias']:6.3f} {group['name_breaches_99']:7.2%}"
        for group in groups
    ]
    return lines if groups else []


def beside(horizon: dict[str, Any]) -> list[str]:
    """Return lines that set the full model beside the peer, where there is one, and name what is worse."""
    peer = horizon.get("peer")
    if peer is None:
        return []
    ours = horizon["layers"][-1]["families"]
    title = (
        f"{horizon['horizon_days']} day(s) ahead, ours | {peer['name']}: mean bias, MRAD, QLIKE, "
        "beyond VaR 99 % (normal, Student, filtered historical)"
    )
    lines = [f"{title}; t < 0: our QLIKE is lower (Diebold-Mariano)"]
    for family, theirs in peer["families"].items():
        pair = [
            f"{one['mean_bias']:.3f} {one['mrad'] or float('nan'):.3f} {one['qlike']:.3f} {one['breaches_99']:7.2%} "
            f"{one['student_breaches_99']:7.2%} {_share(one['filtered_breaches_99'])}"
            for one in (ours[family], theirs)
        ]
        t = float("nan") if theirs["dm_t"] is None else theirs["dm_t"]
        lines.append(f"  {family:17} {pair[0]} | {pair[1]}  t = {t:.2f}")
    lines += [
        f"  worse: {each['measure']} of {each['family']}, {each['ours']:.4g} against {each['peer']:.4g}"
        for each in peer["worse"]
    ]
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when the report is written, whatever it says, 2 for input that cannot be used."""
    defaults = BacktestSettings()
    parser = argparse.ArgumentParser(prog="python -m factors.validation", description=__doc__)
    parser.add_argument(
        "data",
        type=Path,
        nargs="?",
        help="long file of dates and symbols (.parquet, .arrow, .csv); else the sample market",
    )
    parser.add_argument("--out", type=Path, default=Path("validation"), help="folder for the two files (./validation)")
    parser.add_argument("--settings", type=Path, help="model settings in TOML")
    parser.add_argument("--burn-in", type=int, default=defaults.burn_in, help="dates before the first forecast")
    parser.add_argument("--window", type=int, default=defaults.window, help="days behind the sample covariance")
    parser.add_argument("--random", type=int, default=defaults.n_random, help="number of random portfolios")
    parser.add_argument("--random-size", type=int, default=defaults.random_size, help="assets in each")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of the random portfolios")
    parser.add_argument("--peer", type=Path, help="a Python that has skfolio, whose model is then held beside ours")
    given = parser.parse_args(arguments)
    try:
        settings = BacktestSettings(
            burn_in=given.burn_in,
            window=given.window,
            n_random=given.random,
            random_size=given.random_size,
            seed=given.seed,
        )
        model_settings = ModelSettings.from_toml(given.settings) if given.settings else ModelSettings()
        panel = sample_market().panel if given.data is None else features_panel(given.data, None, model_settings)
        figures = validate(panel, model_settings, settings, given.out, given.peer)
    except (FactorError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for horizon in figures["horizons"]:
        lines = [*beside(horizon), *specific_lines(horizon["specific_groups"])]
        sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.write(f"{json.dumps(figures['criterion'])}\n{given.out / 'validation.html'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
