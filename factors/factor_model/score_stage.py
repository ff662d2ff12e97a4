"""The stage of the model that turns fields into cleaned fields, universe, market return and style scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factors.factor_model.recipe import Cleaner, Recipe, estimation_mask
from factors.factor_model.settings import ModelSettings
from factors.numeric.kernels import top_rows
from factors.panel.panel import Array, Panel
from factors.style.descriptor_kernels import market_returns
from factors.style.scores import StyleScores
from factors.style.series import CAP_OF_THE_DAY

ESTIMATION = "estimation_universe"


class Scored(NamedTuple):
    """What the stage makes of some dates.

    Attributes
    ----------
    changed : dict of field to float64 [n_new, n_assets]
        The fields that were cleaned.
    estimation : bool [n_new, n_assets]
    scores : float64 [n_new, n_styles, n_assets]
    market_return : float64 [n_new]
        Of the cap-weighted estimation universe of the day before.
    """

    changed: dict[str, Array]
    estimation: NDArray[np.bool_]
    scores: Array
    market_return: Array


class ScoreStage:
    """Cleaning, universe and scores of consecutive dates; what dates leave behind is carried.

    Parameters
    ----------
    settings : ModelSettings
    recipe : Recipe
    fields, categories : set of str
        Of the panel.
    threads : int
    """

    def __init__(
        self, settings: ModelSettings, recipe: Recipe, fields: set[str], categories: set[str], threads: int
    ) -> None:
        self.recipe = recipe
        defaults = (*settings.smooth_features, *settings.fill_features)
        self.cleaner = Cleaner(recipe, optional=defaults)
        self.scorer = StyleScores(settings.style_factors, fields, groups=categories, threads=threads)

    def run(
        self,
        days: Panel,
        codes: Mapping[str, NDArray[np.int16]],
        before: tuple[Array, NDArray[np.bool_]] | None,
        *,
        keep: bool = True,
    ) -> Scored:
        """Clean, mark the universe and score the next dates.

        Parameters
        ----------
        days : Panel
            Fields as given.
        codes : mapping of category to int16 [n_new, n_assets]
        before : (caps, estimation universe), each [1, n_assets], of the day before; None before the first
        keep : bool
            Whether the dates are taken: else the next call goes on from where this one did. One date, where not.
        """
        raw = days.fields
        changed = self.cleaner.apply(days, keep=keep)
        fields = {**raw, **changed, CAP_OF_THE_DAY: raw["market_cap"]}
        caps = fields["market_cap"]
        mask = estimation_mask(caps, codes.get("sector"), fields.get(ESTIMATION))
        if self.recipe.top_n is not None:
            top = np.empty_like(mask)
            top_rows(caps, mask, self.recipe.top_n, top)
            mask = top
        market = np.full(len(caps), np.nan)
        if before is not None:
            market_returns(raw["returns"][:1], *before, market[:1])
        market_returns(raw["returns"][1:], caps[:-1], mask[:-1], market[1:])
        scores = self.scorer.compute(fields, market, caps, mask, days.dates, codes, keep=keep)
        return Scored(changed, mask, scores, market)

    def state(self) -> dict[str, NDArray[Any]]:
        """Give what the next date needs, the rows that styles look back on apart."""
        state: dict[str, NDArray[Any]] = {f"cleaner/{name}": values for name, values in self.cleaner.state().items()}
        if self.scorer.custom is not None:
            state |= {f"custom/{name}": values for name, values in self.scorer.custom.state().items()}
        return state

    def restore(self, groups: Mapping[str, dict[str, NDArray[Any]]], n_assets: int) -> None:
        """Take up the arrays of `state`, grouped by what stands before the slash."""
        self.cleaner.restore(groups.get("cleaner", {}))
        if self.scorer.custom is not None:
            self.scorer.custom.restore(groups.get("custom", {}), n_assets)
