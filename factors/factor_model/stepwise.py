"""Fits and updates that stop on their way: what is carried at a stop is where a later correction begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from factors.factor_model.model import FactorModel
from factors.factor_model.recipe import Recipe
from factors.factor_model.settings import ModelSettings
from factors.factor_model.state import Arrays
from factors.numeric import deadline
from factors.panel.actions import refuse_impossible
from factors.panel.admission import admitted
from factors.panel.door import Door
from factors.panel.intake import Policy
from factors.panel.panel import Categories, Panel

Stopped = Callable[[int, Arrays], None]
"""Gets the days behind a stop, and what `ModelState.latest` has of a model of those days."""


def fit_through(
    settings: ModelSettings,
    panel: Panel,
    recipe: Recipe,
    stops: Sequence[int],
    stopped: Stopped,
    policy: Policy | None = None,
) -> FactorModel:
    """Fit a model as `FactorModel.fit` does, to the bit, and tell what it carries on its way.

    Parameters
    ----------
    settings : ModelSettings
    panel : Panel
        As it came.
    recipe : Recipe
    stops : sequence of int
        After so many days, ascending; those beyond the panel's end count for nothing.
    stopped : callable
        Called at each stop. A model that is restored from what it is given, and gets the days since, is the fitted one
        to the bit once it has all of the panel's days.
    policy : "strict", "warn" or "off", optional

    Raises
    ------
    FactorError
        What `FactorModel.fit` refuses, looked for in the whole panel first.
    """
    stops = [stop for stop in stops if 0 < stop < panel.n_dates]
    model = FactorModel(settings).clean_features(recipe.to_winsorize, recipe.to_fill, recipe.to_smooth)
    if recipe.top_n is not None:
        model.reduce_universe_by_market_cap(recipe.top_n)
    if not stops:
        return model.set_panel(panel, policy).fit()
    panel = admitted(panel)
    if settings.read_as.adjust != "none":
        refuse_impossible(panel)
    if (policy or settings.read_as.policy) == "strict":
        Door(settings.read_as).take(panel, "strict")
    # One day is all that a model needs to be one; the estimators draw no more than that day's share for it.
    model.set_panel(_days(panel, 0, 1), policy, panel).fit()
    return _grow(model, panel, 1, stops, stopped, policy)


def update_through(
    model: FactorModel, days: Panel, stops: Sequence[int], stopped: Stopped, policy: Policy | None = None
) -> FactorModel:
    """Add days as `FactorModel.update` does, to the bit; `stops` and `stopped` as in `fit_through`, of the new days."""
    return _grow(model, days, 0, [stop for stop in stops if 0 < stop < days.n_dates], stopped, policy)


def _grow(
    model: FactorModel, panel: Panel, first: int, stops: Sequence[int], stopped: Stopped, policy: Policy | None
) -> FactorModel:
    edges = sorted({first, *stops, panel.n_dates})
    for begin, end in pairwise(edges):
        deadline.check()
        model.update(_days(panel, begin, end), policy, followed_by=panel.n_dates - end)
        if end < panel.n_dates:
            stopped(end, model.state(last=1).latest)
    return model


def _days(panel: Panel, first: int, last: int) -> Panel:
    """Give some days as views; what was found in the whole table comes with the first."""
    return replace(
        panel,
        dates=panel.dates[first:last],
        fields={name: values[first:last] for name, values in panel.fields.items()},
        categories={name: Categories(c.codes[first:last], c.names) for name, c in panel.categories.items()},
        findings=() if first else panel.findings,
        former=() if first else panel.former,
    )
