"""The nouns of the command, apart from the operation table, so that `--help` need not read it."""

from __future__ import annotations

OTHER = "ask"
"""The noun of operations that have no words of their own."""
NOUNS = {
    "model": "models: make, extend, correct, look at",
    "book": "portfolios: keep them, and see what their risk is made of",
    "factor": "the factor library, formulas, and the model's factors",
    "watch": "values that move with the market",
    "job": "recomputes: start them, see how far they are, end them",
    OTHER: "every other operation by its own name",
}
BUS = {"bus": "the message bus: its mode, stored events, dead letters"}
"""A noun whose verbs are routes of the service, no operations."""
