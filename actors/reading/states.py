"""Between a fitted model and the store's form of it."""

from __future__ import annotations

from actors.reading.lineage import Before
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.factor_model.state import ModelState
from factors.style.scores import StyleScores
from store import StoredState, Version


def state_of(model: FactorModel, last: int | None = None) -> StoredState:
    """Give the state to commit: all days, or the last ones of an append."""
    state = model.state() if last is None else model.state(last=last)
    cleaned = [name.removeprefix("clean/") for name in state.day_asset if name.startswith("clean/")]
    meta = {
        "settings": state.settings,
        "recipe": state.recipe,
        "factor_names": list(state.factor_names),
        "style_names": list(state.style_names),
        "category_names": {name: list(words) for name, words in state.category_names.items()},
        "fields": sorted(n.removeprefix("fields/") for n in state.day_asset if n.startswith("fields/")),
        "cleaned": cleaned,
        "warnings": [str(warning) for warning in model.warnings_],
    }
    answers = {
        "answer/factor_covariance": model.factor_covariance_,
        "answer/specific_variance": model.specific_variance_,
    }
    return StoredState(state.dates, state.symbols, state.day_asset, state.day, {**state.latest, **answers}, meta)


def model_of(version: Version) -> FactorModel:
    """Rebuild the fitted model of a version."""
    return _model_of(version.state())


def growing_model_of(version: Version) -> FactorModel:
    """Rebuild what the next day needs of a version: reads the last rows, as many as its styles look back on."""
    return growing_model_before(Before(version, version.manifest.n_dates))


def growing_model_before(before: Before) -> FactorModel:
    """Rebuild what the next day needs of an earlier state."""
    meta = before.version.manifest.meta
    styles = ModelSettings.from_dict(meta["settings"]).style_factors
    lookback = StyleScores(styles, set(meta["fields"]), groups=set(meta["category_names"])).lookback
    return _model_of(before.state(lookback)).forget()


def _model_of(stored: StoredState) -> FactorModel:
    meta = stored.meta
    state = ModelState(
        stored.dates,
        stored.symbols,
        tuple(meta["factor_names"]),
        tuple(meta["style_names"]),
        {name: tuple(words) for name, words in meta["category_names"].items()},
        dict(stored.day_asset),
        dict(stored.day),
        {name: array for name, array in stored.latest.items() if not name.startswith("answer/")},
        dict(meta["recipe"]),
        dict(meta["settings"]),
    )
    return FactorModel.from_state(None, state)
