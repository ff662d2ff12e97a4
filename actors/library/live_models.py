"""The live libraries of an actor: warmed in the background, stepped as days come, saved off the hot path.

A live library is a cache. Its state is written to disk when no more days come, so that a restarted actor replays the
days since instead of the whole history; without the file, or with one of other formulas, it is warmed anew.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from actors.library.foreseen import Foreseen, with_next_day
from actors.library.formulas import Formulas
from actors.library.live_library import LiveLibrary, made_of
from actors.library.saved import SavedLibraries, read_saved
from actors.reading.next_day import name_of_day
from actors.runtime.memory import give_back
from actors.runtime.niceness import step_back
from contracts.errors import EngineError, InvalidInput, Unavailable
from contracts.events import untoken
from contracts.requests import AppendDay
from factors.errors import FactorError
from factors.library import FieldsError
from store import LRU, ModelStore, Version

_log = logging.getLogger(__name__)


class LiveModels:
    """Keeps the library of the models that were asked for current.

    Parameters
    ----------
    store : ModelStore
    folder : Path
        Where states are saved.
    threads : int
        Of the library's kernels.
    kept : int
        Models whose library is kept; each holds the state of the whole catalogue. The one used longest ago goes.
    """

    def __init__(self, store: ModelStore, folder: Path, threads: int, kept: int) -> None:
        self._store = store
        self._threads = threads
        self._kept = kept
        self._lock = threading.Lock()
        self._live: LRU[str, LiveLibrary] = LRU(kept)
        self._warming: dict[str, Future[LiveLibrary]] = {}
        self._progress: dict[str, dict[str, Any]] = {}
        # One at a time: two warm-ups beside each other take as long, and twice the memory.
        self._background = ThreadPoolExecutor(1, thread_name_prefix="library warm-up", initializer=step_back)
        self.saved = SavedLibraries(folder, kept, self._background.submit)

    def states(self) -> dict[str, dict[str, Any]]:
        """Say of every model how far its library is."""
        with self._lock:
            out = {name: dict(progress) for name, progress in self._progress.items() if name not in self._live}
            for name, live in self._live.items():
                out[name] = {
                    "state": "live",
                    "model_version": live.number,
                    "date": str(live.day.date),
                    "factors": len(live.day.ids),
                    "names": len(live.day.symbols),
                    "steps": live.steps,
                    "foreseen": live.foreseen,
                }
            return out

    def known(self, model_id: str | None) -> LiveLibrary | None:
        """Give a model's library as it is, at whatever version; None where there is none. Never computes."""
        return self._live.get(model_id) if model_id is not None else None

    def forget(self, name: str) -> None:
        """Let no library show a formula that was removed."""
        for live in self._live.values():
            live.forget(name)

    def stepped(self, model_id: str, formulas: Formulas) -> LiveLibrary | None:
        """Give the library of a model at its newest version where that takes steps at most, else None."""
        live = self._live.get(model_id)
        if live is None or formulas is not live.formulas:
            return None
        return live if self._follow(live, self._store.head(model_id), formulas) else None

    def foresee(self, request: AppendDay, formulas: Formulas) -> Foreseen | None:
        """Compute what a day will give that is being appended, where the model's library is kept and current.

        A request that cannot be read is refused by whoever appends it.

        Returns
        -------
        Foreseen or None
            What the library gives if the day is stored as it came; None where that cannot be said.
        """
        live = self._live.get(request.model_id)
        if live is None or formulas is not live.formulas or not live.may_foresee:
            return None
        try:
            version = self._store.head(request.model_id)
            if version.manifest.version != live.number or made_of(version) != live.made:
                return None
            panel = with_next_day(version, request)
            day = None if panel is None else live.foresee(live.number, panel)
            return None if panel is None or day is None else Foreseen(day, live.steps + 1, name_of_day(version, panel))
        except (EngineError, FactorError, FieldsError) as error:
            _log.info("a day of %s is not foreseen: %s", request.model_id, error)
            return None

    def current(self, model_id: str, formulas: Formulas, wait_s: float) -> LiveLibrary:
        """Give the library of a model at its newest version: kept, stepped forward, or warmed.

        Raises
        ------
        Unavailable
            It is still being warmed after `wait_s` seconds; says how far it is.
        """
        deadline = time.monotonic() + wait_s
        while True:
            version = self._store.head(model_id)
            live = self._live.get(model_id)
            if live is not None and self._follow(live, version, formulas):
                return live
            try:
                self.begin(model_id, formulas).result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise Unavailable(self._how_far(model_id), retry_after_s=5.0) from None

    def _how_far(self, model_id: str) -> str:
        progress = self._progress.get(model_id, {})
        done, total = progress.get("rows_done", 0), progress.get("rows", 0)
        return f"the library of {model_id!r} is being warmed: {done} of {total} rows of days"

    def begin(self, model_id: str, formulas: Formulas) -> Future[LiveLibrary]:
        """Begin to warm a model's library in the background, or give the warm-up that is under way."""
        with self._lock:
            under_way = self._warming.get(model_id)
            if under_way is None:
                self._progress[model_id] = {"state": "warming", "rows_done": 0, "rows": 0}
                under_way = self._warming[model_id] = self._background.submit(self._warm, model_id, formulas)
            return under_way

    def recover(self, formulas: Formulas) -> None:
        """Begin to take up the libraries whose state is on disk, the last used last."""
        for path in reversed(self.saved.files()[: self._kept]):
            with contextlib.suppress(InvalidInput):  # not a name that the engine gave
                self.begin(untoken(path.stem), formulas)

    # -- behind

    def _follow(self, live: LiveLibrary, version: Version, formulas: Formulas) -> bool:
        """Take the days that were appended since; False when the newest version is not this one continued."""
        model_id = version.manifest.model_id
        if version.manifest.version != live.number:
            if not self.continues(version, live.number):
                return False
            live.follow(version)
            self.saved.soon(model_id, live)
        live.register(formulas, version)
        return True

    def continues(self, version: Version, number: int) -> bool:
        """Say whether every version since `number` only added days."""
        return version.manifest.since <= number <= version.manifest.version

    def _warm(self, model_id: str, formulas: Formulas) -> LiveLibrary:
        try:
            version = self._store.head(model_id)
            live = self._restored(version, formulas)
            if live is None:
                live = LiveLibrary(formulas, version, self._threads, lambda *rows: self._note(model_id, *rows))
                self.saved.soon(model_id, live, 0.0)
            for old in self._live.put(model_id, live):
                with old.lock:  # it may be taking a step
                    old.close()
            return live
        finally:
            with self._lock:
                self._warming.pop(model_id, None)
                self._progress.pop(model_id, None)
            give_back()  # a warm-up holds the whole history; what lives on holds windows

    def _note(self, model_id: str, done: int, total: int) -> None:
        self._progress[model_id] = {"state": "warming", "rows_done": done, "rows": total}

    # -- on disk

    def _restored(self, version: Version, formulas: Formulas) -> LiveLibrary | None:
        """Take up a saved state and replay the days since; None where there is none that fits."""
        model_id = version.manifest.model_id
        saved = read_saved(self.saved.path(model_id), formulas)
        if saved is None:
            return None
        number = int(saved["version"])
        if not self.continues(version, number):
            return None
        try:
            at = version if number == version.manifest.version else self._store.version(model_id, number)
            if made_of(at) != str(saved["made"]):
                return None
            live = LiveLibrary(formulas, at, self._threads, saved=saved)
        except (EngineError, ValueError, KeyError) as error:  # retired parts, or another layout of the state
            _log.warning("the saved library of %s is not taken up: %s", model_id, error)
            return None
        if number != version.manifest.version:
            live.follow(version)
            self.saved.soon(model_id, live)
        return live
