"""The store of registered estimators: the file as it was sent, and a document that says what it is."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson

from contracts.errors import InvalidInput, Unavailable, UnknownEstimator
from contracts.events import token
from contracts.files import replacing
from store.lock import locked
from store.parts import sync_folder

FORMAT = 1
ESTIMATORS_MOST = 100
REQUESTS_REMEMBERED = 16


@dataclass(frozen=True)
class Estimator:
    """A registered estimator.

    Attributes
    ----------
    kind
        The class that was saved.
    features
        What its columns are, in their order.
    trusted
        Types that were trusted by name when it was registered; no others ever are.
    allows_missing
        Whether it predicts where a feature is missing.
    saved_by
        The release of scikit-learn that saved it.
    requests
        The last requests and the versions that they made, so that a repeated one is recognised.
    """

    estimator_id: str
    kind: str
    features: tuple[str, ...]
    trusted: tuple[str, ...]
    allows_missing: bool
    saved_by: str
    description: str = ""
    version: int = 0
    sha256: str = ""
    n_bytes: int = 0
    created_at: str = ""
    requests: dict[str, int] = field(default_factory=dict)


class EstimatorStore:
    """Keeps estimators below `root`, which models share; one writer at a time."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "estimators"

    def get(self, estimator_id: str) -> Estimator:
        """Read one. Raises `UnknownEstimator`, or `Unavailable` where its document cannot be read."""
        path = self._path(estimator_id)
        try:
            value = orjson.loads(path.read_bytes())
            if value.pop("format") != FORMAT:
                raise ValueError("it is written by another release")
            made = Estimator(**value)
            return replace(made, features=tuple(made.features), trusted=tuple(made.trusted))
        except FileNotFoundError:
            raise UnknownEstimator(f"the estimator {estimator_id!r} does not exist", field="estimator_id") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__} {error}"
            raise Unavailable(f"an estimator cannot be read: estimators/{path.name}: {reason}") from None

    def all(self) -> list[Estimator]:
        """Read every one, by name; one that cannot be read is not the others' fault."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(Unavailable, UnknownEstimator):
                found.append(self.get(orjson.loads(path.read_bytes())["estimator_id"]))
        return found

    def content(self, kept: Estimator) -> bytes:
        """Read the file. Raises `Unavailable` where it is not what was registered."""
        path = self._file(kept)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Unavailable(f"the file of {kept.estimator_id!r} cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != kept.sha256:
            raise Unavailable(f"the file of the estimator {kept.estimator_id!r} was changed since it was registered")
        return content

    def put(self, made: Estimator, content: bytes, request_id: str) -> Estimator:
        """Keep an estimator as the newest version of its name; a repeated request gives what it made.

        Raises
        ------
        InvalidInput
            `ESTIMATORS_MOST` are there.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder):
            before = self._before(made.estimator_id)
            if before is not None and request_id in before.requests:
                return before
            if before is None and sum(1 for _ in self._folder.glob("*.json")) >= ESTIMATORS_MOST:
                raise InvalidInput(
                    f"{ESTIMATORS_MOST} estimators are registered, and no more are", field="estimator_id"
                )
            number = before.version + 1 if before is not None else 1
            requests = {**(before.requests if before is not None else {}), request_id: number}
            kept = replace(
                made,
                version=number,
                sha256=hashlib.sha256(content).hexdigest(),
                n_bytes=len(content),
                created_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                requests=dict([*requests.items()][-REQUESTS_REMEMBERED:]),
            )
            # The file is there before the document that names it.
            for path, written in (
                (self._file(kept), content),
                (self._path(kept.estimator_id), orjson.dumps({"format": FORMAT, **asdict(kept)})),
            ):
                with replacing(path, durable=True, private=True) as out:
                    out.write(written)
            sync_folder(self._folder)
            if before is not None and before.sha256 != kept.sha256:
                self._file(before).unlink(missing_ok=True)
            return kept

    def delete(self, estimator_id: str) -> None:
        """Remove one, its document first. Raises `UnknownEstimator`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder):
            kept = self.get(estimator_id)
            self._path(estimator_id).unlink()
            self._file(kept).unlink(missing_ok=True)
            sync_folder(self._folder)

    def _before(self, estimator_id: str) -> Estimator | None:
        try:
            return self.get(estimator_id)
        except UnknownEstimator:
            return None

    def _path(self, estimator_id: str) -> Path:
        return self._folder / f"{token(estimator_id)}.json"

    def _file(self, kept: Estimator) -> Path:
        return self._folder / f"{token(kept.estimator_id)}.{kept.sha256[:16]}.skops"
