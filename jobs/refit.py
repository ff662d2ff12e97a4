"""``python -m jobs.recompute MODEL [MODEL ...]``: estimate whole histories again, each as a new version.

Each model is read from the store, fitted on all its days in a Ray task of its own, beside the live actors, and
committed as a new version on top of the one it was read from. When somebody else commits meanwhile (a new day was
appended), it starts again from there. The live actors answer for the new version as soon as it is durable, and peers
are told by the event that every change of a model has. A job repeated under its request id makes neither again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
import ray

from actors.runtime.niceness import step_behind_light
from bus.audit import Audit
from bus.face import Face
from bus.outbox import outbox_for_face
from contracts.answers import Calculation
from contracts.bus_mode import ModeFile
from contracts.caller import caller
from contracts.errors import EngineError, InvalidInput, UnknownModel, VersionConflict, first_line
from contracts.operations import OPERATIONS
from contracts.requests import ModelRef
from contracts.settings import NAMESPACE, settings
from contracts.work import Priority, new_id
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.factor_model.settings import ModelSettings
from factors.factor_model.stepwise import fit_through
from factors.panel.intake import let_in
from router.client import RouterClient
from store import Checkpoint, ModelStore, Version
from store.place import store_place

OPERATION = "recompute"
ATTEMPTS = 5
"""How often a model is recomputed when others commit meanwhile, before the job gives up on it."""

CONNECT_S = 10.0
"""How long the job looks for the router before it takes NATS for not connected."""

Say = Callable[[str], None]


class Recomputed(NamedTuple):
    """What came of one model: the version, what peers are told of it, and the id that a repeated job has again."""

    model_id: str
    calculation_id: str
    made: Calculation
    timings_ms: dict[str, float]
    told: tuple[str, ...] = ()

    def line(self) -> dict[str, Any]:
        """Give what the job prints of it."""
        told = ("n_dates", "n_assets", "first_date", "last_date")
        return {
            "model_id": self.model_id,
            "model_version": self.made.model_version,
            **{name: self.made.values[name] for name in told},
            "seconds": round(self.timings_ms["compute"] / 1e3, 3),
            # Again: of what a task prints at its end Ray may bring nothing to a driver that ends soon after.
            "told": list(self.told),
        }


def recompute(model_id: str, changes: dict[str, Any], request_id: str, say: Say) -> Recomputed:
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
        Told what is done: a line for each stretch of days.

    Raises
    ------
    EngineError
        An unknown model, another job's id, or others committed every time.
    FactorError
        Settings that do not exist, or a panel that cannot be fitted.
    """
    from actors.workloads.factor_model_creation import describe

    store = ModelStore(store_place(settings()), settings().keep_versions)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        say(line)

    began = time.monotonic()
    made = _known(store, model_id, request_id)
    if made is not None:
        said = store.fingerprint_of(model_id, request_id)
        if said and said != _said(changes):
            raise InvalidInput(
                f"the id is that of another job, which made version {made.manifest.version} of {model_id} with other "
                "settings: an id is for repeating the same, a new job has a new one",
                field="request_id",
            )
        tell(f"{model_id}: this job made version {made.manifest.version} before")
    else:
        made = _make(store, model_id, changes, request_id, tell)
        tell(f"{model_id}: committed version {made.manifest.version}")
    identity = hashlib.blake2b(f"{OPERATION}:{model_id}:{request_id}".encode(), digest_size=16).hexdigest()
    took = {"compute": (time.monotonic() - began) * 1e3}
    return Recomputed(model_id, identity, describe(made), took, tuple(told))


def _in_task(model_id: str, changes: dict[str, Any], request_id: str, say: Say) -> Recomputed:
    """Recompute behind the live actors' answers, in a process that does nothing else."""
    step_behind_light()
    return recompute(model_id, changes, request_id, say)


def _known(store: ModelStore, model_id: str, request_id: str) -> Version | None:
    """Find the version that a former run of this job made, if it is still kept."""
    number = store.made_by(model_id, request_id)
    if number is None:
        return None
    try:
        return store.version(model_id, number)
    except UnknownModel:
        return None


def _make(store: ModelStore, model_id: str, changes: dict[str, Any], request_id: str, say: Say) -> Version:
    """Fit and commit, again from the newest version whenever somebody else committed meanwhile."""
    from actors.reading.states import model_of, state_of

    for _ in range(ATTEMPTS):
        version = store.head(model_id)
        base = version.manifest.version
        say(f"{model_id}: version {base}, {version.manifest.n_dates} dates, {version.manifest.n_assets} assets")
        fitted, checkpoints = _fit(store, model_of(version), changes, model_id, say)
        try:
            return store.commit(
                model_id,
                state_of(fitted),
                base=base,
                request_id=request_id,
                operation=OPERATION,
                fingerprint=_said(changes),
                checkpoints=checkpoints,
            )
        except VersionConflict as conflict:
            say(f"{model_id}: {conflict.detail}; starting again")
            told = conflict
    raise told


def _fit(
    store: ModelStore, model: FactorModel, changes: dict[str, Any], model_id: str, say: Say
) -> tuple[FactorModel, list[Checkpoint]]:
    """Fit what came into the model under its recipe and its settings, changed as asked for; keep what it carries."""
    settings = ModelSettings.from_dict(_merged(ModelSettings.to_dict(model.settings), changes))
    panel, kept = model.door_.as_it_came(model.panel_), list[Checkpoint]()
    began = time.monotonic()

    def tell(n_dates: int) -> None:
        say(f"{model_id}: {n_dates} of {panel.n_dates} days, {time.monotonic() - began:.1f} s")

    def stopped(n_dates: int, carried: dict[str, Any]) -> None:
        kept.append(store.keep(model_id, n_dates, panel.n_assets, carried))
        tell(n_dates)

    stops, policy = store.stops(panel.n_dates), let_in(settings.read_as.policy)
    fitted = fit_through(settings, panel, model.recipe_, stops, stopped, policy)
    tell(panel.n_dates)
    return fitted, kept


def _said(changes: dict[str, Any]) -> str:
    """Tell a job from another under the same id."""
    text = orjson.dumps([OPERATION, changes], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _merged(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(kept)
    for name, value in changes.items():
        old = out.get(name)
        out[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


async def publish(one: Recomputed, client: RouterClient, *, connected: bool) -> dict[str, Any]:
    """Tell peers of the new version, as the faces do: by the outbox. Gives the `calculation_result` that they get."""
    outbox = outbox_for_face(settings())
    try:
        face = Face(client, outbox, connected=lambda: connected, mode=ModeFile.of(settings()))
        # What a new version of a model tells: FACTOR_MODEL_UPDATED on the model's subject.
        row, request = OPERATIONS["append_day"], ModelRef(model_id=one.model_id)
        priority = Priority[request.messagebus_priority.upper()]
        caller.set("job")
        await Audit.of(settings()).note(row, request, outcome="done", version=one.made.model_version)
        return await face.announce(row, request, one.made, one.calculation_id, one.timings_ms, priority)
    finally:
        if outbox is not None:
            outbox.close()


async def _tell(one: Recomputed) -> None:
    client, connected = RouterClient(), False
    with contextlib.suppress(EngineError):  # without a router the event waits in the outbox for whoever comes
        connected = (await client.start(CONNECT_S)).table.bus.connected
    try:
        told = await publish(one, client, connected=connected)
    finally:
        await client.close()
    if settings().messagebus_enabled and not (told["messagebus_published"] or told.get("messagebus_queued")):
        _say(f"{one.model_id}: version {told['model_version']} is not announced: the outbox cannot be written")


def _say(line: str) -> None:
    print(line, flush=True)


def refit(models: Sequence[str], changes: dict[str, Any], request_id: str | None = None) -> int:
    """Fit models anew, each in a Ray task of its own; gives the number of those that failed."""
    ray.init(namespace=NAMESPACE, ignore_reinit_error=True)
    request_id = request_id or new_id()
    # One CPU each, so that as many run at once as the cluster has; the live actors ask for none.
    task = ray.remote(num_cpus=1, max_retries=2)(_in_task)
    running = {task.remote(name, changes, f"{request_id}-{name}", _say): name for name in dict.fromkeys(models)}
    failed = 0
    while running:
        (finished,), _ = ray.wait(list(running), num_returns=1)
        name = running.pop(finished)
        try:
            one = ray.get(finished)
            _say(json.dumps(one.line()))
            # At once: a job that is ended now must not leave a version that nobody heard of.
            asyncio.run(_tell(one))
        except (EngineError, FactorError, ray.exceptions.RayError) as error:
            failed += 1
            _say(f"{name}: failed: {_reason(error)}")
    return failed


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return first_line(cause)
