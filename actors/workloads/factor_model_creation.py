"""The writer of models: every operation here makes a new version, durable before it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from actors.reading.confidence import confidence_score
from actors.reading.features import features_panel, in_request, in_table, intake_of, intake_of_days, rows_panel
from actors.reading.grid import check_model
from actors.reading.lineage import CONTINUES, version_before
from actors.reading.panels import whole_panel
from actors.reading.quality import door_of
from actors.reading.slices import Slices, by_name, settings_of
from actors.reading.states import growing_model_of, model_of, state_of
from actors.runtime.base import WorkloadActor
from actors.runtime.memory import give_back
from contracts import job_requests as jr
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import EngineError, InvalidInput
from contracts.work import new_id
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.panel.admission import admitted
from factors.panel.corrections import as_given, corrected
from factors.panel.door import Door
from factors.panel.intake import Policy
from factors.panel.panel import Panel
from factors.sample.market import sample_market
from store import LRU, Version

M = TypeVar("M", bound=rq.ModelRef)
MODELS_KEPT = 8
"""Models kept in memory for appends, each with the rows that its styles look back on. Others are rebuilt from the
store, which reads as many rows."""
LARGE_CELLS = 200_000
"""Dates times names above which a fit takes so much memory that giving it back is worth a tenth of a second."""


class FactorModelCreation(WorkloadActor):
    """Fits, changes and extends models. One write at a time (the heavy lane computes one item at a time)."""

    def prepare(self) -> None:
        """Open the store and compile the kernels by fitting a tiny market and adding a day."""
        self.slices = Slices()
        self.store = self.slices.store
        self._models: LRU[str, tuple[int, FactorModel]] = LRU(MODELS_KEPT)
        panel = sample_market(n_assets=40, n_days=80).panel
        FactorModel().fit(panel.select(dates=panel.dates[:-1])).update(panel.last(1))

    def notes(self) -> dict[str, Any]:
        """Give the store's counters, and how many fitted models are kept in memory."""
        return {**self.store.counters, "models_kept": len(self._models)} if hasattr(self, "_models") else {}

    # -- operations

    def create_model(self, request: rq.CreateModel) -> Calculation:
        """Fit a model on the posted features."""
        return self._fit(request, self._create)

    def put_data(self, request: rq.CreateModel) -> Calculation:
        """Fit a model on features that came in bulk."""
        return self._fit(request, self._create)

    def clean_features(self, request: rq.CleanFeatures) -> Calculation:
        """Winsorise, fill and smooth features, and fit again."""
        return self._fit(request, self._clean)

    def reduce_universe(self, request: rq.ReduceUniverse) -> Calculation:
        """Keep the largest names by cap in the estimation universe of each date, and fit again."""
        return self._fit(request, self._reduce)

    def estimate_style_scores(self, request: rq.EstimateStyles) -> Calculation:
        """Estimate style scores with other settings, and all that follows from them."""
        return self._fit(request, self._restyle)

    def estimate_factor_returns(self, request: rq.EstimateReturns) -> Calculation:
        """Estimate factor returns with other settings, and all that follows from them."""
        return self._fit(request, self._reregress)

    def append_day(self, request: rq.AppendDay) -> Calculation:
        """Add days: one incremental step each."""
        return self._once(request, self._append)

    def correct_days(self, request: rq.CorrectDays) -> Calculation:
        """Replace rows of past days, and estimate again what follows from them."""
        return self._fit(request, self._correct)

    def restore_version(self, request: jr.RestoreVersion) -> Calculation:
        """Make a new version that is what an older one was."""
        return self._once(request, self._restore)

    def delete_model(self, request: rq.ModelRef) -> Calculation:
        """Delete models; their version numbers go on."""
        return self._once(request, self._delete)

    def _fit(self, request: M, work: Callable[[M, str], Calculation]) -> Calculation:
        """Do a write that fits a whole model, and leave none of a large one's memory with this process."""
        answer = self._once(request, work)
        if answer.values.get("n_dates", 0) * answer.values.get("n_assets", 0) > LARGE_CELLS:
            give_back()
        return answer

    def _once(self, request: M, work: Callable[[M, str], Calculation]) -> Calculation:
        """Do a write; one that was done before gives the version that it made."""
        request_id = request.request_id or new_id()
        made = self.store.made_by(request.model_id, request_id)
        return work(request, request_id) if made is None else self._again(request.model_id, made)

    # -- the work

    def _create(self, request: rq.CreateModel, request_id: str) -> Calculation:
        try:
            settings = ModelSettings.from_dict({"threads": self.settings.model_threads, **request.settings})
        except FactorError as error:
            raise in_request("settings", error) from None
        settings = replace(settings, intake=intake_of(request, settings.read_as))
        began = time.perf_counter()
        panel = features_panel(request, settings.read_as)
        decoded = time.perf_counter() - began
        model = FactorModel(settings).fit(panel)
        answer = self._commit(request.model_id, model, self._base(request.model_id), request_id, "create_model")
        return answer.timed(decode=decoded)

    def _clean(self, request: rq.CleanFeatures, request_id: str) -> Calculation:
        number, model = self._whole(request.model_id)
        model.clean_features(request.to_winsorize, request.to_fill, request.to_smooth).fit()
        return self._commit(request.model_id, model, number, request_id, "clean_features")

    def _reduce(self, request: rq.ReduceUniverse, request_id: str) -> Calculation:
        number, model = self._whole(request.model_id)
        model.reduce_universe_by_market_cap(request.top_n).fit()
        return self._commit(request.model_id, model, number, request_id, "reduce_universe")

    def _restyle(self, request: rq.EstimateStyles, request_id: str) -> Calculation:
        number, model = self._whole(request.model_id)
        styles = model.settings.style_factors
        mom = replace(styles.mom, trailing_days=request.trailing_days, winsor_factor=request.winsor_factor)
        settings = replace(model.settings, style_factors=replace(styles, mom=mom))
        return self._commit(request.model_id, _refitted(model, settings), number, request_id, "estimate_style_scores")

    def _reregress(self, request: rq.EstimateReturns, request_id: str) -> Calculation:
        number, model = self._whole(request.model_id)
        regression = replace(
            model.settings.regression,
            winsor_factor=request.winsor_factor,
            residualize_styles=request.residualize_styles,
        )
        settings = replace(model.settings, regression=regression)
        return self._commit(request.model_id, _refitted(model, settings), number, request_id, "estimate_factor_returns")

    def _append(self, request: rq.AppendDay, request_id: str) -> Calculation:
        number, model = self._open(request.model_id)
        began = time.perf_counter()
        intake = intake_of_days(request, model.settings.read_as)
        days = features_panel(request, intake, sectors=model.sector_names_)
        decoded = time.perf_counter() - began
        head = self.store.head(request.model_id)
        # A model grows by dates and, with each new name, over its whole history.
        new_names = len(set(days.symbols).difference(head.symbols))
        check_model(
            head.manifest.n_dates + days.n_dates, head.manifest.n_assets + new_names, len(head.manifest.meta["fields"])
        )
        try:
            model.update(days, intake.policy)
        except FactorError as error:
            raise in_table("feature_data", error, intake) from None
        answer = self._commit(request.model_id, model, number, request_id, "append_day", new_days=days.n_dates)
        return answer.timed(decode=decoded)

    def _correct(self, request: rq.CorrectDays, request_id: str) -> Calculation:
        """Take a kept version that ends before the first corrected day and add the days since; else fit anew."""
        head = self.store.head(request.model_id)
        number, n_dates = head.manifest.version, head.manifest.n_dates
        intake = intake_of_days(request, settings_of(head).read_as)
        rows = rows_panel(request, intake)
        first = str(rows.dates[0])
        kept = version_before(self.store, head, first)
        had = kept.manifest.n_dates if kept else 0
        try:
            panel, changed = corrected(as_given(whole_panel(head, n_dates - had)), rows)
        except FactorError as error:
            raise in_table("feature_data", error, intake) from None
        about = {"history_changed_from": first, "n_rows_changed": changed}
        if not changed:
            made = describe(head)
            said = f"nothing changed: the rows are those of version {number} of {request.model_id}"
            untouched = {"refitted": False, "n_days_computed": 0}
            return replace(made, values={**made.values, **about, **untouched}, message=said, event=False)
        try:
            # An error of the days before is none of this correction: looked for in all, refused in those since.
            policy = "warn" if intake.policy == "strict" else intake.policy
            if intake.policy == "strict":
                _refuse_errors_since(first, panel, kept, settings_of(head))
            if kept is None:
                model = _refitted(model_of(head), settings_of(head), panel, policy)
            else:
                model = growing_model_of(kept).update(panel, policy)
        except FactorError as error:
            raise in_table("feature_data", error, intake) from None
        self._models.pop(request.model_id)
        new_days, onto = (None, None) if kept is None else (n_dates - had, kept.manifest.version)
        answer = self._commit(request.model_id, model, number, request_id, "correct_days", new_days, onto)
        about |= {"refitted": kept is None, "n_days_computed": n_dates - had}
        if kept is None:
            answer = replace(answer, message=f"{answer.message}; {_fitted_whole(n_dates, first)}")
        return replace(answer, values={**answer.values, **about})

    def _restore(self, request: jr.RestoreVersion, request_id: str) -> Calculation:
        """Commit the state of a kept version again; readers take it as a history that was replaced."""
        base = self.store.head(request.model_id).manifest.version
        number = request.version
        if number is None:
            before = [one.version for one in self.store.kept(request.model_id) if one.version < base]
            if not before:
                raise InvalidInput(f"no version before {base} of {request.model_id} is kept", field="version")
            number = before[-1]
        old = self.store.version(request.model_id, number)
        if old.manifest.deleted:
            raise InvalidInput(f"version {number} of {request.model_id} is a deletion", field="version")
        self._models.pop(request.model_id)
        version = self.store.commit(
            request.model_id, old.state(), base=base, request_id=request_id, operation="restore_version"
        )
        made = describe(version)
        return replace(made, message=f"{made.message}: as version {number}")

    def _delete(self, request: rq.ModelRef, request_id: str) -> Calculation:
        number = self.store.delete(request.model_id, request_id=request_id)
        self._models.pop(request.model_id)
        return deletion(request.model_id, number)

    # -- versions

    def _base(self, model_id: str) -> int:
        try:
            return self.store.head(model_id).manifest.version
        except EngineError:
            return 0

    def _whole(self, model_id: str) -> tuple[int, FactorModel]:
        """Rebuild a model with its whole history, to fit it again."""
        version = self.store.head(model_id)
        return version.manifest.version, model_of(version)

    def _open(self, model_id: str) -> tuple[int, FactorModel]:
        """Take the model that grows out of the cache, or rebuild it from the store's last days.

        It leaves the cache while it is changed: should the change fail, the next request starts from the store.
        """
        version = self.store.head(model_id)
        number = version.manifest.version
        kept = self._models.pop(model_id)
        if kept is not None and kept[0] == number:
            return kept
        return number, growing_model_of(version)

    def _commit(
        self, model_id: str, model: FactorModel, base: int, request_id: str, operation: str,
        new_days: int | None = None, onto: int | None = None,
    ) -> Calculation:  # fmt: skip
        """Make the version durable; the answer tells how long that took beside the computation."""
        state = state_of(model, new_days)
        if new_days is not None:
            before = onto if onto is not None else self.store.head(model_id).manifest.meta.get(CONTINUES)
            state = replace(state, meta={**state.meta, CONTINUES: before})
        began = time.perf_counter()
        version = self.store.commit(
            model_id,
            state,
            base=base,
            request_id=request_id,
            operation=operation,
            append=new_days is not None,
            onto=onto,
        )
        committed = time.perf_counter() - began
        self._models.put(model_id, (version.manifest.version, model.forget()))
        return describe(version).timed(commit=committed)

    def _again(self, model_id: str, made: int) -> Calculation:
        """Answer a repeated write: by the version that it made, or by its number when that is retired or a deletion."""
        try:
            version = self.store.version(model_id, made)
        except EngineError:
            return deletion(model_id, made)
        return deletion(model_id, made) if version.manifest.deleted else describe(version)


def _fitted_whole(n_dates: int, first: str) -> str:
    return (
        f"all {n_dates} days were computed anew, since no kept version ends before {first}: "
        "FACTOR_ENGINE_KEEP_VERSIONS keeps more"
    )


def _refuse_errors_since(first: str, panel: Panel, kept: Version | None, settings: ModelSettings) -> None:
    """Raise the first error of a panel's days from a date on; those before it come after a kept version or nothing."""
    if kept is None:
        Door(settings.read_as).refuse_errors_since(first, admitted(panel))
    else:
        door_of(kept).refuse_errors_since(first, admitted(panel, kept.symbols).on_axis(kept.symbols))


def _refitted(
    model: FactorModel, settings: ModelSettings, panel: Panel | None = None, policy: Policy | None = None
) -> FactorModel:
    """Fit the same panel, or another, and the same recipe with other settings."""
    other = FactorModel(settings).set_panel(panel or model.panel_, policy)
    recipe = model.recipe_
    other.clean_features(recipe.to_winsorize, recipe.to_fill, recipe.to_smooth)
    if recipe.top_n is not None:
        other.reduce_universe_by_market_cap(recipe.top_n)
    return other.fit()


def describe(version: Version) -> Calculation:
    """Give what is told of a new version of a model: its size, its factors, and the returns of its last day."""
    manifest = version.manifest
    names = tuple(manifest.meta["factor_names"])
    last = manifest.n_dates - 1
    n_names = int(np.asarray(version.day("n_obs", slice(last, last + 1)))[0])
    return Calculation(
        values={
            "n_dates": manifest.n_dates,
            "n_assets": manifest.n_assets,
            "first_date": manifest.blocks[0].first_date,
            "last_date": manifest.blocks[-1].last_date,
            "factors": list(names),
            "factor_returns": by_name(names, np.asarray(version.day("factor_returns", slice(last, last + 1)))[0]),
            "r2": float(np.asarray(version.day("r2", slice(last, last + 1)))[0]),
        },
        message=f"version {manifest.version} of {manifest.model_id} by {manifest.operation}",
        confidence_score=confidence_score(n_names / max(manifest.n_assets, 1), n_names, len(names)),
        model_version=manifest.version,
        details={"warnings": list(manifest.meta["warnings"]), "recipe": manifest.meta["recipe"]},
    )


def deletion(model_id: str, number: int) -> Calculation:
    """Give what is told of a model's deletion, whose version that is."""
    return Calculation(
        values={"model_id": model_id},
        message=f"version {number} of {model_id}",
        confidence_score=1.0,
        model_version=number,
    )
