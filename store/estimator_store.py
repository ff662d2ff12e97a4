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
from store.commit import Commit, FolderCommit, Step, attempt

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
        The release of scikit-learn that saved it, or what made the file of ONNX.
    form
        Of the file: "skops" or "onnx".
    network
        Hash of the network of dense layers that was read off it; "" where it is none.
    features_form, features_clip
        How the features of a model are given to it: "raw" or "zscored", and where scores are cut.
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
    form: str = "skops"
    network: str = ""
    features_form: str = "raw"
    features_clip: float | None = None
    requests: dict[str, int] = field(default_factory=dict)


class EstimatorStore:
    """Keeps estimators below `root`, or in the place that models share; one writer at a time."""

    def __init__(self, root: Path | Commit) -> None:
        self._place = FolderCommit(root) if isinstance(root, Path) else root
        self._folder = self._place.root / "estimators"

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
        return self._read(kept, self._file(kept), kept.sha256)

    def network(self, kept: Estimator) -> bytes:
        """Read the network that was read off the file. Raises `Unavailable` where it is not what was kept."""
        return self._read(kept, self._network(kept), kept.network)

    def _read(self, kept: Estimator, path: Path, sha256: str) -> bytes:
        try:
            if not path.exists():
                self._place.fetch(path)
            content = path.read_bytes()
        except OSError as error:
            raise Unavailable(f"the file of {kept.estimator_id!r} cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Unavailable(f"the file of the estimator {kept.estimator_id!r} was changed since it was registered")
        return content

    def put(self, made: Estimator, content: bytes, request_id: str, network: bytes = b"") -> Estimator:
        """Keep an estimator as the newest version of its name; a repeated request gives what it made.

        `network` is what was read off a network of dense layers.

        Raises
        ------
        InvalidInput
            `ESTIMATORS_MOST` are there, or another file was registered under this id.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return attempt(
            self._place, self._path(made.estimator_id), lambda: self._put(made, content, request_id, network)
        )

    def _put(self, made: Estimator, content: bytes, request_id: str, network: bytes) -> Estimator:
        before = self._before(made.estimator_id)
        sha256 = hashlib.sha256(content).hexdigest()
        if before is not None and request_id in before.requests:
            if before.requests[request_id] == before.version and before.sha256 != sha256:
                raise InvalidInput(
                    f"the id is that of another request, which registered version {before.version} of "
                    f"{made.estimator_id!r}: an id is for repeating the same, a new request has a new one",
                    field="request_id",
                )
            return before
        if before is None and sum(1 for _ in self._folder.glob("*.json")) >= ESTIMATORS_MOST:
            raise InvalidInput(f"{ESTIMATORS_MOST} estimators are registered, and no more are", field="estimator_id")
        number = before.version + 1 if before is not None else 1
        requests = {**(before.requests if before is not None else {}), request_id: number}
        kept = replace(
            made,
            version=number,
            sha256=sha256,
            network=hashlib.sha256(network).hexdigest() if network else "",
            n_bytes=len(content),
            created_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            requests=dict([*requests.items()][-REQUESTS_REMEMBERED:]),
        )
        added = [*self._files(kept)]
        for path, written in zip(added, (content, network), strict=False):
            with replacing(path, private=True) as out:
                out.write(written)
        document = orjson.dumps({"format": FORMAT, **asdict(kept)})
        self._place.publish(Step(self._path(kept.estimator_id), document, added=added, private=True))
        left = [] if before is None else [path for path in self._files(before) if path not in added]
        if left:
            self._place.drop(left)
        return kept

    def delete(self, estimator_id: str) -> None:
        """Remove one, its document first. Raises `UnknownEstimator`."""

        def gone() -> None:
            kept = self.get(estimator_id)
            self._place.remove(self._path(estimator_id), [*self._files(kept)])

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        attempt(self._place, self._path(estimator_id), gone)

    def _before(self, estimator_id: str) -> Estimator | None:
        try:
            return self.get(estimator_id)
        except UnknownEstimator:
            return None

    def _path(self, estimator_id: str) -> Path:
        return self._folder / f"{token(estimator_id)}.json"

    def _file(self, kept: Estimator) -> Path:
        return self._folder / f"{token(kept.estimator_id)}.{kept.sha256[:16]}.{kept.form}"

    def _network(self, kept: Estimator) -> Path:
        return self._folder / f"{token(kept.estimator_id)}.{kept.network[:16]}.network"

    def _files(self, kept: Estimator) -> tuple[Path, ...]:
        return (self._file(kept), *((self._network(kept),) if kept.network else ()))
