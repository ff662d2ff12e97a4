"""The store of watches, and of which market a model follows: small JSON documents, one each, put in place whole."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from contracts.errors import InvalidInput, Unavailable, UnknownWatch
from contracts.events import token, untoken
from contracts.live_requests import DEFAULT_MARKET, LATE_S, LEAST_SEEN
from store.commit import Commit, FolderCommit, Step, attempt

FORMAT = 1
REQUESTS_REMEMBERED = 16


@dataclass(frozen=True)
class Watch:
    """A watch as it was put: what `contracts.live_requests.PutWatch` says, of one model.

    Attributes
    ----------
    number : int
        Grows with each time that the watch is put anew.
    requests : mapping
        The last requests and the numbers that they made, so that a repeated one is recognised.
    """

    watch_id: str
    model_id: str
    number: int = 0
    factors: tuple[str, ...] = ()
    formulas: dict[str, str] = field(default_factory=dict)
    min_periods: Literal["strict", "one"] = "strict"
    styles: tuple[str, ...] = ()
    factor_returns: bool = False
    portfolios: tuple[str, ...] = ()
    symbols: tuple[str, ...] | None = None
    rate_ms: int = 100
    form: str = "raw"
    encoding: str = "json"
    only_changed: bool = False
    idle_s: float = 86_400.0
    created_at: str = ""
    requests: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DayRules:
    """How a model's days run and end: what `contracts.live_requests.FollowMarket` says."""

    market: str = DEFAULT_MARKET
    least_seen: float = LEAST_SEEN
    closes_at: str | None = None
    watermark_s: float | None = None
    late_s: float = LATE_S


def _said(watch: Watch) -> bytes:
    """What a watch says of itself, however it was read."""
    said = {name: value for name, value in asdict(watch).items() if name not in ("number", "created_at", "requests")}
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


class WatchStore:
    """Keeps watches, and how the days of models run.

    Parameters
    ----------
    root : Path
        The store's folder, or its place, which models share.
    limit : int
        Watches kept; one more is refused.
    """

    def __init__(self, root: Path | Commit, limit: int) -> None:
        self._place = FolderCommit(root) if isinstance(root, Path) else root
        self._watches = self._place.root / "watches"
        self._markets = self._place.root / "markets"
        self._limit = limit

    def all(self) -> list[Watch]:
        """Read every watch, by name; one that cannot be read is not the others' fault."""
        found = []
        for path in sorted(self._watches.glob("*.json")):
            with contextlib.suppress(Unavailable, FileNotFoundError):
                found.append(_watch(path))
        return found

    def get(self, watch_id: str) -> Watch:
        """Read a watch. Raises `UnknownWatch`."""
        try:
            return _watch(self._path(watch_id))
        except FileNotFoundError:
            raise UnknownWatch(f"there is no watch {watch_id!r}", field="watch_id") from None

    def put(self, made: Watch, request_id: str) -> Watch:
        """Make a watch, or take another in its place; a repeated request id changes nothing.

        Raises
        ------
        InvalidInput
            There are as many as may be, or another watch was put under this id.
        """
        self._watches.mkdir(parents=True, exist_ok=True, mode=0o700)
        return attempt(self._place, self._path(made.watch_id), lambda: self._put(made, request_id))

    def _put(self, made: Watch, request_id: str) -> Watch:
        before = None
        with contextlib.suppress(UnknownWatch, Unavailable):  # a damaged one is written anew
            before = self.get(made.watch_id)
        if before is None and len(self.all()) >= self._limit:
            raise InvalidInput(f"{self._limit} watches are kept; end one first", field="watch_id")
        if before is not None and request_id in before.requests:
            if before.requests[request_id] == before.number and _said(before) != _said(made):
                raise InvalidInput(
                    f"the id is that of another request, which made the watch {made.watch_id!r} as it is: "
                    "an id is for repeating the same, a new request has a new one",
                    field="request_id",
                )
            return before
        number = before.number + 1 if before is not None else 1
        requests = {**(before.requests if before is not None else {}), request_id: number}
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        kept = dict([*requests.items()][-REQUESTS_REMEMBERED:])
        made = replace(made, number=number, created_at=now, requests=kept)
        self._place.publish(Step(self._path(made.watch_id), _written(asdict(made))))
        return made

    def delete(self, watch_id: str) -> None:
        """End a watch, durably. Raises `UnknownWatch`."""
        try:
            attempt(self._place, self._path(watch_id), lambda: self._place.remove(self._path(watch_id)))
        except FileNotFoundError:
            raise UnknownWatch(f"there is no watch {watch_id!r}", field="watch_id") from None

    def rules_of(self, model_id: str) -> DayRules:
        """Give how a model's days run; the defaults where it was never said."""
        try:
            value = _read(self._markets / f"{token(model_id)}.json")
        except FileNotFoundError:
            return DayRules()
        known = {each.name for each in fields(DayRules)}
        return DayRules(**{name: given for name, given in value.items() if name in known})

    def all_rules(self) -> dict[str, DayRules]:
        """Give the rules of every model of which they were said."""
        found = {}
        for path in sorted(self._markets.glob("*.json")):
            with contextlib.suppress(Unavailable, FileNotFoundError):
                model_id = untoken(path.stem)
                found[model_id] = self.rules_of(model_id)
        return found

    def set_rules(self, model_id: str, rules: DayRules) -> None:
        """Say how a model's days run, durably."""
        self._markets.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._markets / f"{token(model_id)}.json"
        attempt(self._place, path, lambda: self._place.publish(Step(path, _written(asdict(rules)))))

    def _path(self, watch_id: str) -> Path:
        return self._watches / f"{token(watch_id)}.json"


def _watch(path: Path) -> Watch:
    value = _read(path)
    try:
        for name in ("factors", "styles", "portfolios", "symbols"):
            value[name] = None if value[name] is None else tuple(value[name])
        return Watch(**value)
    except (KeyError, TypeError) as error:
        raise Unavailable(f"a watch cannot be read: {path.name}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    try:
        value: dict[str, Any] = orjson.loads(content)
        if value.pop("format") != FORMAT:
            raise ValueError("it is written by another release")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"{path.parent.name}/{path.name} cannot be read: {error}") from None
    return value


def _written(content: dict[str, Any]) -> bytes:
    return orjson.dumps({"format": FORMAT, **content}, option=orjson.OPT_INDENT_2)
