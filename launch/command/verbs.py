"""Which noun and verb of the command stands for which operation; the words are chosen here, the rest is the table's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.operations import OPERATIONS, Operation
from launch.command.nouns import OTHER

BOOK = "book"
"""A positional argument that is the id of a stored portfolio, or a file with weights."""


@dataclass(frozen=True)
class Verb:
    """One verb of a noun.

    Parameters
    ----------
    operation
        The row of the operation table.
    positional
        Fields of the request that stand behind the verb without a name, in this order; `BOOK` is one of two fields.
    """

    operation: Operation
    positional: tuple[str, ...]


_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "model": {
        "list": ("list_models",),
        "show": ("model_status", "model_id"),
        "quality": ("model_quality", "model_id"),
        "create": ("put_data", "model_id", "feature_data"),
        "append": ("append_day", "model_id", "feature_data"),
        "correct": ("correct_days", "model_id", "feature_data"),
        "delete": ("delete_model", "model_id"),
        "clean": ("clean_features", "model_id"),
        "reduce": ("reduce_universe", "model_id", "top_n"),
        "scores": ("estimate_style_scores", "model_id"),
        "returns": ("estimate_factor_returns", "model_id"),
        "covariance": ("covariance",),
        "versions": ("model_versions", "model_id"),
        "restore": ("restore_version", "model_id", "version"),
        "follow": ("follow_market", "model_id", "market"),
        "day": ("live_status",),
    },
    "book": {
        "list": ("list_portfolios",),
        "show": ("get_portfolio", "portfolio_id"),
        "put": ("put_portfolio", "portfolio_id", "holdings"),
        "append": ("append_portfolio", "portfolio_id", "holdings"),
        "delete": ("delete_portfolio", "portfolio_id"),
        "exposures": ("factor_exposures", BOOK),
        "risk": ("portfolio_risk", BOOK),
        "history": ("risk_history", BOOK),
        "attribution": ("portfolio_attribution", BOOK),
        "margin": ("margin", BOOK),
        "stress": ("stress", BOOK),
        "what-if": ("what_if", BOOK, "trades"),
        "hedge": ("hedge", BOOK, "instruments"),
        "rebalance": ("rebalance", BOOK),
        "optimize": ("optimize", BOOK),
        "frontier": ("frontier", BOOK),
        "budget": ("risk_budget", "symbols"),
    },
    "factor": {
        "list": ("definitions",),
        "show": ("factor_definition", "factor"),
        "category": ("factor_category", "category"),
        "evaluate": ("evaluate_formula", "formula"),
        "forget": ("remove_formula", "formula_id"),
        "rank": ("factor_cross_section", "factors"),
        "values": ("calculate_factors", "symbol", "factors"),
        "results": ("factor_results", "symbol"),
        "update": ("update_factors",),
        "correlations": ("factor_correlations", "factors"),
        "neighbours": ("factor_neighbours", "factor"),
        "language": ("formula_language",),
        "analytics": ("factor_analytics",),
        "performance": ("factor_performance", "factors"),
        "trend": ("factor_trend", "factors"),
        "features": ("factor_features", "symbols"),
        "signals": ("factor_signals", "symbols"),
        "library-signals": ("library_signals", "factors"),
    },
    "watch": {
        "put": ("put_watch", "watch_id"),
        "list": ("list_watches",),
        "show": ("get_watch", "watch_id"),
        "delete": ("delete_watch", "watch_id"),
    },
    "job": {
        "list": ("list_jobs",),
        "start": ("recompute", "model_id"),
        "show": ("job_status", "job_id"),
        "cancel": ("cancel_job", "job_id"),
        "logs": ("job_logs", "job_id"),
    },
}
SAME = {"create_model": "model create"}
"""Operations that another verb does already."""


def verbs(noun: str, table: Mapping[str, Operation] = OPERATIONS) -> dict[str, Verb]:
    """Give the verbs of a noun; operations that no word above stands for are verbs of `OTHER`."""
    if noun != OTHER:
        return {
            verb: Verb(table[name], tuple(positional))
            for verb, (name, *positional) in _WORDS[noun].items()
            if name in table
        }
    named = {words[0] for of_noun in _WORDS.values() for words in of_noun.values()} | set(SAME)
    return {name.replace("_", "-"): Verb(row, in_path(row)) for name, row in table.items() if name not in named}


def in_path(row: Operation) -> tuple[str, ...]:
    """Give the fields that the operation's own route has in its path."""
    path = row.routes[0].path if row.routes else ""
    return tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))
