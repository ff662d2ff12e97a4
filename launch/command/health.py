"""The page `/health` in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.pools import name_in


def summary(page: Mapping[str, Any]) -> dict[str, Any]:
    """Give what an operator looks at first: the state, what is not well and why, the models and the actors."""
    models = [
        {
            "model": model["model_id"],
            "version": model["model_version"],
            "from": model["first_date"],
            "to": model["last_date"],
            "assets": model["n_assets"],
            "factors": len(model["factors"]),
        }
        for model in page.get("models", [])
    ]
    actors = [
        {
            "actor": name_in(actor),
            "state": actor["state"],
            "device": ", ".join(actor["placement"]["device"]) or "-",
            "why": actor.get("reason") or "-",
        }
        for actor in page.get("actors", [])
    ]
    return {
        "status": page.get("status"),
        "message bus": "connected" if page.get("messagebus_connected") else "not connected",
        "definitions": page.get("factor_definitions_loaded"),
        "not well": [{"part": row["component"], "why": row["reason"]} for row in page.get("degraded", [])],
        "still starting": dict(page.get("starting_because") or {}),
        "models": models,
        "actors": actors,
    }
