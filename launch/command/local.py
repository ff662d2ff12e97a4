"""``factor-engine risk``: a book's risk from two files, without an engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import EngineError, UnknownSymbol
from launch.command.call import FAILED, Where, fail, tell
from launch.command.fields import Field, holdings

BOOK = Field("book", "mapping", required=True, choices=(), help="symbol and weight")


def risk_of(book: Path, market: Path, settings: Path | None, as_json: bool = False, arrow: Path | None = None) -> int:
    """Fit the model on the market, and show what the book's risk is made of at its last date."""
    from factors.errors import FactorError

    try:
        tell(decomposed(holdings(BOOK, book), market, settings), Where("", as_json=as_json, arrow=arrow))
    except EngineError as error:
        return fail(error)
    except (FactorError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return FAILED
    return 0


def decomposed(weights: dict[str, float], market: Path, settings: Path | None = None) -> dict[str, Any]:
    """Give the risk of weights by factor and by name, a year.

    Raises
    ------
    FactorError
        The market cannot be read, or no name of the book is covered.
    InvalidInput
        A name of the book is not in the market; names it.
    """
    from factors.factor_model.frames import features_panel
    from factors.factor_model.model import FactorModel
    from factors.factor_model.settings import ModelSettings
    from factors.panel.frequency import periods_per_year
    from factors.portfolio.coverage import cover
    from factors.portfolio.risk import portfolio_risk

    chosen = ModelSettings.from_toml(settings) if settings else ModelSettings()
    model = FactorModel(chosen).fit(features_panel(market, None, chosen))
    latest = model.latest()
    at = {symbol: n for n, symbol in enumerate(latest.symbols)}
    strange = [symbol for symbol in weights if symbol not in at]
    if strange:
        raise UnknownSymbol(
            f"{len(strange)} names of the book are not in {market.name}: {', '.join(strange[:5])}",
            field="book",
            rows=strange,
        )
    held = np.zeros(len(at))
    for symbol, weight in weights.items():
        held[at[symbol]] = weight
    covered = cover(held[None, :], latest.exposures, latest.specific_variance, symbols=latest.symbols, field="book")
    found = portfolio_risk(
        covered.weights,
        covered.exposures,
        latest.factor_covariance,
        covered.specific_variance,
        linked=latest.linked,
    )
    assert found.contributions is not None
    year = float(np.sqrt(periods_per_year(model.dates_)))
    by_factor = zip(
        latest.factor_names,
        found.exposures[0].tolist(),
        (found.factor_contributions[0] * year).tolist(),
        found.percent_factor[0].tolist(),
        strict=True,
    )
    by_name = ((symbol, held[at[symbol]], found.contributions[0, at[symbol]] * year) for symbol in weights)
    return {
        "date": str(latest.date),
        "volatility_annual": float(found.total[0]) * year,
        "factor_volatility_annual": float(found.factor[0]) * year,
        "specific_volatility_annual": float(found.specific[0]) * year,
        "by_factor": [
            {"factor": factor, "exposure": exposure, "contribution_annual": part, "share": share}
            for factor, exposure, part, share in by_factor
        ],
        "by_name": [
            {"symbol": symbol, "weight": float(weight), "contribution_annual": float(part)}
            for symbol, weight, part in by_name
        ],
        "uncovered": [latest.symbols[n] for n in covered.uncovered.tolist()],
        "uncovered_share": float(covered.share[0]),
        "warnings": list(model.warnings_),
    }
