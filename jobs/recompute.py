"""``ray job submit ... -- python -m jobs.recompute MODEL [MODEL ...]``: estimate whole histories again.

Each model is read from the store, fitted on all its days in a Ray task of its own, beside the live actors, and
committed as a new version on top of the one it was read from. When somebody else commits meanwhile (a new day was
appended), it starts again from there. The live actors answer for the new version as soon as it is durable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray

from bus.actor import outbox_for_face
from contracts.errors import EngineError, VersionConflict, first_line
from contracts.events import event, token
from contracts.settings import NAMESPACE, settings
from contracts.work import new_id
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings

OPERATION = "recompute"
ATTEMPTS = 5
"""How often a model is recomputed when others commit meanwhile, before the job gives up on it."""

STAGES: tuple[tuple[str, Callable[[FactorModel], Any]], ...] = (
    ("style scores", FactorModel.estimate_style_scores),
    ("factor returns", FactorModel.estimate_factor_returns),
    ("factor covariance", FactorModel.estimate_covariance),
    ("specific risk", FactorModel.estimate_specific_risk),
)

Say = Callable[[str], None]


def recompute(model_id: str, changes: dict[str, Any], request_id: str, say: Say) -> dict[str, Any]:
    """Fit a model's whole history and commit it.

    Parameters
    ----------
    model_id
        A model of the store that the settings name.
    changes
        Settings that replace the model's own, nested as they are.
    request_id
        Repeating it makes no second version.
    say
        Told what is done: one line per stage.

    Returns
    -------
    dict
        model_id, model_version, n_dates, n_assets, first_date, last_date, seconds.

    Raises
    ------
    EngineError
        An unknown model, or others committed every time.
    FactorError
        Settings that do not exist, or a panel that cannot be fitted.
    """
    from actors.reading.states import model_of, state_of
    from store import ModelStore

    store = ModelStore(settings().store_path, settings().keep_versions)
    began = time.monotonic()
    for attempt in range(ATTEMPTS):
        version = store.head(model_id)
        base = version.manifest.version
        say(f"{model_id}: version {base}, {version.manifest.n_dates} dates, {version.manifest.n_assets} assets")
        fitted = _fit(model_of(version), changes, model_id, say)
        try:
            made = store.commit(model_id, state_of(fitted), base=base, request_id=request_id, operation=OPERATION)
        except VersionConflict as conflict:
            if attempt == ATTEMPTS - 1:
                raise
            say(f"{model_id}: {conflict.detail}; starting again")
            continue
        break
    manifest = made.manifest
    say(f"{model_id}: committed version {manifest.version}")
    return {
        "model_id": model_id,
        "model_version": manifest.version,
        "n_dates": manifest.n_dates,
        "n_assets": manifest.n_assets,
        "first_date": manifest.blocks[0].first_date,
        "last_date": manifest.blocks[-1].last_date,
        "seconds": round(time.monotonic() - began, 3),
    }


def _fit(model: FactorModel, changes: dict[str, Any], model_id: str, say: Say) -> FactorModel:
    """Fit the model's panel under its recipe and its settings, changed as asked for."""
    kept = ModelSettings.to_dict(model.settings)
    fresh = FactorModel(ModelSettings.from_dict(_merged(kept, changes))).set_panel(model.panel_)
    recipe = model.recipe_
    fresh.clean_features(recipe.to_winsorize, recipe.to_fill, recipe.to_smooth)
    if recipe.top_n is not None:
        fresh.reduce_universe_by_market_cap(recipe.top_n)
    for number, (name, estimate) in enumerate(STAGES, start=1):
        began = time.monotonic()
        estimate(fresh)
        say(f"{model_id}: {number} of {len(STAGES)}, {name}, {time.monotonic() - began:.1f} s")
    return fresh


def _merged(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(kept)
    for name, value in changes.items():
        old = out.get(name)
        out[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


async def _publish(rows: Sequence[dict[str, Any]]) -> None:
    """Tell peers of the new versions, as the faces do: by the outbox."""
    outbox = outbox_for_face(settings())
    if outbox is None:
        return
    subjects = [f"factor.model_created.{token(row['model_id'])}" for row in rows]
    await outbox.put([event(subject, "FACTOR_MODEL_UPDATED", row) for subject, row in zip(subjects, rows, strict=True)])
    outbox.close()


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Recompute the models that the command line names; the exit code is the number of those that failed."""
    parser = argparse.ArgumentParser(prog="jobs.recompute", description=__doc__.splitlines()[2] if __doc__ else None)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON object of settings to change")
    parser.add_argument("--request-id", default=None, help="repeat it to repeat the job safely")
    options = parser.parse_args(arguments)
    if not isinstance(options.settings, dict):
        parser.error("--settings must be a JSON object")
    ray.init(namespace=NAMESPACE, ignore_reinit_error=True)
    request_id = options.request_id or new_id()
    # One CPU each, so that as many run at once as the cluster has; the live actors ask for none.
    task = ray.remote(num_cpus=1, max_retries=2)(recompute)
    running = {task.remote(name, options.settings, f"{request_id}-{name}", _say): name for name in options.models}
    done, failed = [], 0
    while running:
        (finished,), _ = ray.wait(list(running), num_returns=1)
        name = running.pop(finished)
        try:
            done.append(ray.get(finished))
            _say(json.dumps(done[-1]))
        except (EngineError, FactorError, ray.exceptions.RayError) as error:
            failed += 1
            _say(f"{name}: failed: {_reason(error)}")
    if done:
        asyncio.run(_publish(done))
    return failed


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return first_line(cause)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
