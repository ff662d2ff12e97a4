"""The writer of models: every operation here makes a new version, durable before it is answered."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from actors.reading.confidence import confidence_score
from actors.reading.features import features_panel, in_request, in_table, intake_of, intake_of_days, rows_panel
from actors.reading.grid import check_model
from actors.reading.lineage import CONTINUES, Before, continued, state_before
from actors.reading.next_day import name_of_day
from actors.reading.panels import whole_panel
from actors.reading.quality import door_before, door_of
from actors.reading.slices import Slices, by_name, factor_returns_of, settings_of
from actors.reading.states import growing_model_before, growing_model_of, model_of, state_of
from actors.runtime.base import WorkloadActor
from actors.runtime.memory import give_back
from contracts import job_requests as jr
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import EngineError, InvalidInput
from contracts.fingerprint import fingerprint
from contracts.work import new_id
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.factor_model.recipe import Recipe
from factors.factor_model.settings import ModelSettings
from factors.factor_model.stepwise import fit_through, update_through
from factors.panel.admission import admitted
from factors.panel.corrections import corrected
from factors.panel.door import Door
from factors.panel.identity import named_as
from factors.panel.intake import Policy, let_in
from factors.panel.meaning import ID
from factors.panel.panel import Panel
from factors.sample.market import sample_market
from store import LRU, Checkpoint, Version

M = TypeVar("M", bound=rq.ModelRef)
MODELS_KEPT = 8
"""Models kept in memory for appends, each with the rows that its styles look back on. Others are rebuilt from the
store, which reads as many rows."""
LARGE_CELLS = 200_000
"""Dates times names above which a fit takes so much memory that giving it back is worth a tenth of a second."""


class Asked(NamedTuple):
    """The id of a write, and what tells it from another under the same id."""

    request_id: str
    fingerprint: str


class FactorModelCreation(WorkloadActor):
    """Fits, changes and extends models. One write at a time (the heavy lane computes one item at a time)."""

    def prepare(self) -> None:
        """Open the store and compile the kernels by fitting a tiny market and adding a day."""
        self.slices = Slices()
        self.store = self.slices.store
        self.store.tidy()
        self._models: LRU[str, tuple[int, FactorModel]] = LRU(MODELS_KEPT)
        panel = sample_market(n_assets=40, n_days=80).panel
        FactorModel().fit(panel.select(dates=panel.dates[:-1])).update(panel.last(1))

    def notes(self) -> dict[str, Any]:
        """Give the store's counters, and how many fitted models are kept in memory."""
        return {**self.store.counts(), "models_kept": len(self._models)} if hasattr(self, "_models") else {}

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

    def _fit(self, request: M, work: Callable[[M, Asked], Calculation]) -> Calculation:
        """Do a write that fits a whole model, and leave none of a large one's memory with this process."""
        answer = self._once(request, work)
        if answer.values.get("n_dates", 0) * answer.values.get("n_assets", 0) > LARGE_CELLS:
            give_back()
        return answer

    def _once(self, request: M, work: Callable[[M, Asked], Calculation]) -> Calculation:
        """Do a write; one that was done before gives the version that it made.

        Raises
        ------
        InvalidInput
            Another write was done under its id.
        """
        asked = Asked(request.request_id or new_id(), fingerprint(work.__name__.strip("_"), request))
        made = self.store.made_by(request.model_id, asked.request_id)
        if made is None:
            return work(request, asked)
        said = self.store.fingerprint_of(request.model_id, asked.request_id)
        if said and asked.fingerprint and said != asked.fingerprint:
            raise InvalidInput(
                f"the id is that of another request, which made version {made} of {request.model_id}: "
                "an id is for repeating the same, a new request has a new one",
                field="request_id",
            )
        return self._again(request.model_id, made)

    # -- the work

    def _create(self, request: rq.CreateModel, asked: Asked) -> Calculation:
        try:
            settings = ModelSettings.from_dict({"threads": self.settings.model_threads, **request.settings})
        except FactorError as error:
            raise in_request("settings", error) from None
        settings = replace(settings, intake=intake_of(request, settings.read_as))
        began = time.perf_counter()
        panel = features_panel(request, settings.read_as)
        decoded = time.perf_counter() - began
        base = self._base(request.model_id)
        recipe = FactorModel(settings).recipe_
        model, checkpoints = self._fitted(request.model_id, settings, panel, recipe)
        answer = self._commit(request.model_id, model, base, asked, "create_model", checkpoints)
        return answer.timed(decode=decoded)

    def _clean(self, request: rq.CleanFeatures, asked: Asked) -> Calculation:
        number, model = self._whole(request.model_id)
        recipe = model.clean_features(request.to_winsorize, request.to_fill, request.to_smooth).recipe_
        return self._refit(request.model_id, number, model, model.settings, recipe, asked, "clean_features")

    def _reduce(self, request: rq.ReduceUniverse, asked: Asked) -> Calculation:
        number, model = self._whole(request.model_id)
        recipe = model.reduce_universe_by_market_cap(request.top_n).recipe_
        return self._refit(request.model_id, number, model, model.settings, recipe, asked, "reduce_universe")

    def _restyle(self, request: rq.EstimateStyles, asked: Asked) -> Calculation:
        number, model = self._whole(request.model_id)
        styles = model.settings.style_factors
        mom = replace(styles.mom, trailing_days=request.trailing_days, winsor_factor=request.winsor_factor)
        settings = replace(model.settings, style_factors=replace(styles, mom=mom))
        return self._refit(request.model_id, number, model, settings, model.recipe_, asked, "estimate_style_scores")

    def _reregress(self, request: rq.EstimateReturns, asked: Asked) -> Calculation:
        number, model = self._whole(request.model_id)
        regression = replace(
            model.settings.regression,
            winsor_factor=request.winsor_factor,
            residualize_styles=request.residualize_styles,
        )
        settings = replace(model.settings, regression=regression)
        return self._refit(request.model_id, number, model, settings, model.recipe_, asked, "estimate_factor_returns")

    def _refit(
        self, model_id: str, number: int, model: FactorModel, settings: ModelSettings, recipe: Recipe, asked: Asked,
        operation: str,
    ) -> Calculation:  # fmt: skip
        """Fit what came into a model anew: it goes through the door as it came, so that the same is found in it."""
        panel, policy = model.door_.as_it_came(model.panel_), let_in(settings.read_as.policy)
        fitted, checkpoints = self._fitted(model_id, settings, panel, recipe, policy)
        return self._commit(model_id, fitted, number, asked, operation, checkpoints)

    def _append(self, request: rq.AppendDay, asked: Asked) -> Calculation:
        number, model = self._open(request.model_id)
        began = time.perf_counter()
        intake = intake_of_days(request, model.settings.read_as)
        days = features_panel(request, intake, sectors=model.sector_names_)
        decoded = time.perf_counter() - began
        head = self.store.head(request.model_id)
        _refuse_future(days.dates[-1], head.date(head.manifest.n_dates - 1))
        # A model grows by dates and, with each new name, over its whole history.
        new_names = len(set(days.symbols).difference(head.symbols))
        check_model(
            head.manifest.n_dates + days.n_dates, head.manifest.n_assets + new_names, len(head.manifest.meta["fields"])
        )
        try:
            model.update(days, intake.policy)
        except FactorError as error:
            raise in_table("feature_data", error, intake) from None
        answer = self._commit(request.model_id, model, number, asked, "append_day", new_days=days.n_dates)
        return answer.timed(decode=decoded)

    def _correct(self, request: rq.CorrectDays, asked: Asked) -> Calculation:
        """Take the newest state that is kept of before the first corrected day and add the days since, or fit anew."""
        head = self.store.head(request.model_id)
        number, n_dates = head.manifest.version, head.manifest.n_dates
        intake = intake_of_days(request, settings_of(head).read_as)
        rows = rows_panel(request, intake)
        if ID in rows.categories:
            rows = named_as(rows, head.symbols, door_of(head).ids)
        first = str(rows.dates[0])
        kept = state_before(self.store, head, rows.dates[0])
        had = kept.n_dates if kept else 0
        before = door_before(kept) if kept else None
        try:
            panel, changed = corrected(door_of(head).as_it_came(whole_panel(head, n_dates - had), before), rows)
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
            policy = let_in(intake.policy)
            if intake.policy == "strict":
                _refuse_errors_since(first, panel, kept, settings_of(head))
            recipe = Recipe.from_dict(head.manifest.meta["recipe"])
            model, checkpoints = self._fitted(request.model_id, settings_of(head), panel, recipe, policy, kept)
        except FactorError as error:
            raise in_table("feature_data", error, intake) from None
        self._models.pop(request.model_id)
        answer = self._commit(
            request.model_id, model, number, asked, "correct_days", checkpoints, n_dates - had if kept else None, kept
        )
        about |= {"refitted": kept is None, "n_days_computed": n_dates - had}
        if kept is None:
            answer = replace(answer, message=f"{answer.message}; {_fitted_whole(n_dates, first)}")
        return replace(answer, values={**answer.values, **about})

    def _restore(self, request: jr.RestoreVersion, asked: Asked) -> Calculation:
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
            request.model_id,
            old.state(),
            base=base,
            request_id=asked.request_id,
            operation="restore_version",
            fingerprint=asked.fingerprint,
            checkpoints=old.manifest.checkpoints,
        )
        made = describe(version)
        return replace(made, message=f"{made.message}: as version {number}")

    def _delete(self, request: rq.ModelRef, asked: Asked) -> Calculation:
        number = self.store.delete(request.model_id, request_id=asked.request_id)
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

    def _fitted(
        self, model_id: str, settings: ModelSettings, panel: Panel, recipe: Recipe, policy: Policy | None = None,
        before: Before | None = None,
    ) -> tuple[FactorModel, list[Checkpoint]]:  # fmt: skip
        """Fit a panel, or add it to an earlier state, and keep what is carried on the way."""
        kept: list[Checkpoint] = []
        had = before.n_dates if before else 0

        def stopped(n_dates: int, carried: dict[str, np.ndarray]) -> None:
            kept.append(self.store.keep(model_id, had + n_dates, panel.n_assets, carried))

        stops = [stop - had for stop in self.store.stops(had + panel.n_dates, had)]
        if before is None:
            return fit_through(settings, panel, recipe, stops, stopped, policy), kept
        return update_through(growing_model_before(before), panel, stops, stopped, policy), kept

    def _commit(
        self, model_id: str, model: FactorModel, base: int, asked: Asked, operation: str,
        checkpoints: Sequence[Checkpoint] = (), new_days: int | None = None, onto: Before | None = None,
    ) -> Calculation:  # fmt: skip
        """Make the version durable; the answer tells how long that took beside the computation."""
        state = state_of(model, new_days)
        if onto is not None:
            state = replace(state, meta={**state.meta, **continued(onto)})
        elif new_days is not None:
            before = self.store.head(model_id)
            state = replace(state, meta={**state.meta, CONTINUES: before.manifest.meta.get(CONTINUES)})
        began = time.perf_counter()
        version = self.store.commit(
            model_id,
            state,
            base=base,
            request_id=asked.request_id,
            fingerprint=asked.fingerprint,
            operation=operation,
            append=new_days is not None,
            onto=onto.ground if onto else None,
            checkpoints=checkpoints,
        )
        committed = time.perf_counter() - began
        self._models.put(model_id, (version.manifest.version, model.forget()))
        answer = describe(version).timed(commit=committed)
        if new_days == 1 and onto is None:
            # Of what was stored, which the model's door may have made another row than the one that came.
            answer = replace(answer, day=name_of_day(before, whole_panel(version, rows=1)))
        return answer

    def _again(self, model_id: str, made: int) -> Calculation:
        """Answer a repeated write: by the version that it made, or by its number when that is retired or a deletion."""
        try:
            version = self.store.version(model_id, made)
        except EngineError:
            return deletion(model_id, made)
        return deletion(model_id, made) if version.manifest.deleted else describe(version)


def _refuse_future(day: np.datetime64, last: np.datetime64) -> None:
    """Refuse a day that is not yet, which a wrong clock sends: every right day after it would come too late.

    A model whose last day is not yet either is no real one, and goes on as it likes.
    """
    # Somewhere it is tomorrow already.
    latest = np.datetime64(dt.datetime.now(dt.UTC).date(), "D") + np.timedelta64(1, "D")
    if day.astype("datetime64[D]") > latest >= last.astype("datetime64[D]"):
        raise InvalidInput(
            f"the rows are of {day.astype('datetime64[D]')}, which is after today by this machine's clock, "
            f"{latest - np.timedelta64(1, 'D')}; the model ends on {last.astype('datetime64[D]')}",
            field="feature_data.date",
            rows=[str(day)],
        )


def _fitted_whole(n_dates: int, first: str) -> str:
    return (
        f"all {n_dates} days were computed anew, since no checkpoint lies before {first}: "
        "FACTOR_ENGINE_CHECKPOINT_DAYS says how far they are apart"
    )


def _refuse_errors_since(first: str, panel: Panel, kept: Before | None, settings: ModelSettings) -> None:
    """Raise the first error of a panel's days from a date on; those before it come after a kept version or nothing."""
    if kept is None:
        Door(settings.read_as).refuse_errors_since(first, admitted(panel))
    else:
        door_before(kept).refuse_errors_since(first, admitted(panel, kept.symbols).on_axis(kept.symbols))


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
            "factor_returns": by_name(names, factor_returns_of(version, slice(last, last + 1))[0]),
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
