"""The store of models: versions as manifests over immutable parts, committed by compare-and-swap.

A model's folder holds `manifest.json` (the newest version), `versions/` (that one and the kept older ones), `parts/`
and `lock`. The commit is that `manifest.json` is replaced (`store.commit`), under an advisory lock that the kernel
frees when its holder dies; everything before it is invisible, everything after it is clean-up that any later commit
repeats.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from contracts.errors import InvalidInput, ModelUnreadable, Unavailable, UnknownModel, VersionConflict
from contracts.events import token, untoken
from contracts.tracing import spanned
from store import checkpoints as marks
from store.checkpoints import Checkpoint
from store.commit import Commit, FolderCommit, Step, attempt
from store.lock import locked
from store.manifest import Block, Manifest
from store.parts import write_part
from store.version import DAY, DAY_ASSET, MANIFEST, StoredState, Version, unreadable

MERGE_DAYS = 32
"""Blocks shorter than this become one when together they hold as many days: appends stay small, reads stay few, and no
commit rewrites more."""
SWEEP_AGE_S = 600.0
"""A part that no manifest names is swept when it is older than this; a younger one may belong to a commit under way."""


_log = logging.getLogger(__name__)


class StateLike(Protocol):
    """What a version is made from; `factors.ModelState` with its JSON-able fields gathered in `meta`."""

    @property
    def dates(self) -> np.ndarray: ...  # noqa: D102
    @property
    def symbols(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def day_asset(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102
    @property
    def day(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102
    @property
    def latest(self) -> Mapping[str, np.ndarray]: ...  # noqa: D102
    @property
    def meta(self) -> Mapping[str, Any]: ...  # noqa: D102


class Ground(NamedTuple):
    """What a correction goes on from: the first days of a kept version."""

    version: int
    n_dates: int


class _Seen(NamedTuple):
    """A model's newest version as it was found last, and what tells whether its manifest is still the same file."""

    path: Path
    signature: tuple[int, int]
    version: Version


class ModelStore:
    """Opens, lists, commits and deletes models below `root`.

    Parameters
    ----------
    root
        The store's folder; made when missing. Or the place that the settings name (`store.place`).
    keep_versions
        Older versions kept beside the newest; the rest and their parts are swept at commits.
    checkpoint_days, checkpoints
        What a model carries is kept every so many days of its history, so often at most: of a longer one the days
        between are doubled. 0 of either: never.
    """

    def __init__(
        self, root: Path | Commit, keep_versions: int = 16, checkpoint_days: int = 63, checkpoints: int = 32
    ) -> None:  # fmt: skip
        self._place = FolderCommit(root) if isinstance(root, Path) else root
        self._fetch = None if isinstance(self._place, FolderCommit) else self._place.fetch
        self.root = self._place.root / "models"
        self.keep_versions = keep_versions
        self._apart = checkpoint_days, checkpoints
        self.counters = {"commits": 0, "conflicts": 0, "repeats": 0, "versions_retired": 0, "parts_swept": 0}
        self._seen: dict[str, _Seen] = {}
        self._files: dict[Path, set[str]] = {}
        self.root.mkdir(parents=True, exist_ok=True)

    def counts(self) -> dict[str, int]:
        """Count what was done here, and what the place did for it."""
        return {**self.counters, **self._place.counts()}

    # -- reading

    def head(self, model_id: str) -> Version:
        """Open the newest version; costs one `stat` when nothing changed.

        Raises
        ------
        UnknownModel
            There is none, or it was deleted.
        ModelUnreadable
            Its manifest cannot be read; names the file and the reason.
        """
        found = self._current(model_id)
        if found is None:
            raise UnknownModel(f"no model has the id {model_id!r}", field="model_id")
        if found.manifest.deleted:
            raise UnknownModel(f"the model {model_id!r} was deleted", field="model_id")
        return found

    def _current(self, model_id: str, *, ask: bool = True) -> Version | None:
        """Open the newest version, a deletion too, or None; `ask` whether another node made it a moment ago."""
        seen = self._seen.get(model_id)
        # Every answer comes by here: to put the path together again would cost more than to look at the file.
        path = seen.path if seen else self._folder(model_id) / MANIFEST
        try:
            status = path.stat()
        except FileNotFoundError:
            return self._current(model_id, ask=ask) if ask and self._place.missed(path) else None
        except OSError as error:
            raise unreadable(model_id, path, error) from None
        signature = (status.st_ino, status.st_mtime_ns)
        if seen is None or seen.signature != signature:
            before = seen.version if seen else None
            manifest = self._read(path, model_id, before.manifest if before else None)
            seen = _Seen(path, signature, Version(self._folder(model_id) / "parts", manifest, before, self._fetch))
            self._seen[model_id] = seen
        return seen.version

    def version(self, model_id: str, version: int) -> Version:
        """Open one kept version. Raises `UnknownModel` when it never was or was retired."""
        folder = self._folder(model_id)
        newest = self._newest(folder, model_id)
        if newest is None or version > newest.version:  # a file beyond it is of a commit that was cut off
            raise UnknownModel(f"model {model_id!r} has no version {version}", field="model_version")
        if version == newest.version:
            return Version(folder / "parts", newest, None, self._fetch)
        path = _kept(folder, version)
        try:
            if not path.exists():
                self._place.fetch(path)
            manifest = self._read(path, model_id)
        except FileNotFoundError:
            raise UnknownModel(f"model {model_id!r} has no kept version {version}", field="model_version") from None
        return Version(folder / "parts", manifest, None, self._fetch)

    def kept(self, model_id: str) -> list[Manifest]:
        """Give the manifests of the kept versions, oldest first, without those that cannot be read."""
        found = []
        newest = self._newest(self._folder(model_id), model_id)
        for number in sorted({*self._numbers(model_id), *([newest.version] if newest is not None else [])}):
            with contextlib.suppress(UnknownModel, ModelUnreadable):
                found.append(self.version(model_id, number).manifest)
        return found

    def _numbers(self, model_id: str) -> list[int]:
        """Numbers of the kept versions, by the names of their files."""
        names = [Path(name) for name in self._place.names(self._folder(model_id) / "versions")]
        return [int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdigit()]

    def ids(self) -> list[str]:
        """List the models that are not deleted, by name; those whose manifest cannot be read too, as they exist."""
        return sorted(model_id for model_id in self._named() if self.has(model_id))

    def _named(self) -> Iterator[str]:
        """Give the id of every folder that the store made; other things that lie there are nobody's model."""
        for folder in self.root.iterdir():
            with contextlib.suppress(InvalidInput):
                model_id = untoken(folder.name)
                if folder.is_dir() and token(model_id) == folder.name:
                    yield model_id

    def has(self, model_id: str) -> bool:
        """Say whether a model is there and not deleted, also one that cannot be read; asks no other node."""
        try:
            found = self._current(model_id, ask=False)
        except ModelUnreadable:
            return True
        return found is not None and not found.manifest.deleted

    def newest(self) -> Iterator[tuple[str, Manifest]]:
        """Give the newest manifest of each model, of deleted ones too; those that cannot be read are left out."""
        for model_id in sorted(self._named()):
            with contextlib.suppress(ModelUnreadable):
                found = self._current(model_id, ask=False)
                if found is not None:
                    yield model_id, found.manifest

    def made_by(self, model_id: str, request_id: str) -> int | None:
        """Tell which version a request made, or None when it made none, or when that is forgotten or unreadable."""
        try:
            found = self._current(model_id)
        except ModelUnreadable:  # whoever writes next meets it, and a deletion may
            return None
        return found.manifest.requests.get(request_id) if found else None

    def fingerprint_of(self, model_id: str, request_id: str) -> str | None:
        """Give what a remembered request said, None where that is not known."""
        found = self._current(model_id)
        return found.manifest.fingerprints.get(request_id) if found else None

    # -- writing

    def stops(self, n_dates: int, first: int = 0) -> list[int]:
        """Give after how many days a history of so many has a checkpoint, of those after its first ones."""
        return marks.stops(n_dates, *self._apart, first)

    def keep(self, model_id: str, n_dates: int, n_assets: int, carried: Mapping[str, np.ndarray]) -> Checkpoint:
        """Write a checkpoint for a `commit` that will name it; without one it is swept."""
        return marks.write(self._folder(model_id) / "parts", n_dates, n_assets, carried)

    @spanned("store commit")
    def commit(
        self, model_id: str, state: StateLike, *, base: int, request_id: str, operation: str, append: bool = False,
        onto: Ground | None = None, fingerprint: str = "", checkpoints: Iterable[Checkpoint] = (),
    ) -> Version:  # fmt: skip
        """Make a new version durable and newest.

        Parameters
        ----------
        base
            The version that the new one was made from; 0 when the model is new or deleted.
        request_id
            A repeated id makes nothing and gives the version that it made.
        append
            `state` holds only new days, to be put behind those of `base`; `latest` and `meta` replace.
        onto
            With `append`, the first days of a kept version, which are gone on from instead of those of `base`: the
            later ones are replaced.
        fingerprint
            What the request said, for `fingerprint_of`.
        checkpoints
            What `keep` wrote on the way; those of the days that are gone on from are kept.

        Raises
        ------
        VersionConflict
            Another request committed since `base`.
        UnknownModel
            The version to go on from was retired.
        """
        folder = self._folder(model_id)
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        checkpoints = list(checkpoints)
        made = {one.file for one in checkpoints}

        def change() -> Version | None:
            current = self._newest(folder, model_id)
            if current and request_id in current.requests:
                self.counters["repeats"] += 1
                return self._repeat(model_id, folder, current, request_id)
            at = 0 if current is None or (current.deleted and base == 0) else current.version
            if at != base:
                self.counters["conflicts"] += 1
                raise VersionConflict(f"model {model_id!r} is at version {at}, the change was made from {base}")
            number = (current.version if current else 0) + 1
            ground, found, since = tuple[Block, ...](), [*checkpoints], number
            if append and current is not None:
                kept = current if onto is None else self.version(model_id, onto.version).manifest
                had = kept.n_dates if onto is None else onto.n_dates
                ground, since = self._first_days(folder, kept, had), kept.since if onto is None else number
                found += [one for one in kept.checkpoints if one.n_dates <= had]
            manifest = Manifest(
                model_id, number, request_id, operation, _now(), self._merged(folder, (*ground, block)), latest,
                dict(state.meta), since=since,
            )  # fmt: skip
            if marks.due(found, manifest.n_dates, *self._apart):
                found.append(self.keep(model_id, manifest.n_dates, manifest.n_assets, state.latest))
            manifest = replace(manifest, checkpoints=marks.kept(found, manifest.n_dates, *self._apart))
            made.update(manifest.files)
            self._publish(folder, manifest.remembering(current, fingerprint), current)
            return None

        try:
            block = self._write_block(folder, state)
            made.add(block.part.file)
            latest = write_part(folder / "parts", "latest", state.latest)
            made.add(latest.file)
            repeated = attempt(self._place, folder / MANIFEST, change)
        except OSError:
            self._take_back(folder, model_id, made)
            raise
        if repeated is not None:
            return repeated
        self._retire(folder, model_id)
        return self.head(model_id)

    def delete(self, model_id: str, *, request_id: str) -> int:
        """Put a tombstone as the newest version, so that numbers go on and a repeat is recognised; give its number.

        A model whose manifest cannot be read can be deleted too: the files of its versions tell the last number.
        """
        folder = self._folder(model_id)

        def change() -> tuple[int, bool]:
            try:
                current = self._newest(folder, model_id)
            except ModelUnreadable:
                current = Manifest(model_id, max(self._numbers(model_id), default=0), "", "", "")
            if current and request_id in current.requests:
                return current.requests[request_id], False
            if current is None or current.deleted:
                raise UnknownModel(f"no model has the id {model_id!r}", field="model_id")
            manifest = Manifest(model_id, current.version + 1, request_id, "delete_model", _now(), deleted=True)
            self._publish(folder, manifest.remembering(current), current)
            return manifest.version, True

        number, made = attempt(self._place, folder / MANIFEST, change)
        if made:
            self._retire(folder, model_id, keep=0)
        return number

    def tidy(self) -> None:
        """Sweep the folders of models whose first commit was cut off: no later one may come that does so."""
        if self._fetch is None:
            for model_id in [*self._named()]:
                if not (self._folder(model_id) / MANIFEST).exists():
                    self._retire(self._folder(model_id), model_id)

    # -- inside

    def _take_back(self, folder: Path, model_id: str, made: set[str]) -> None:
        """Remove what a commit wrote and no version names: on a full disk it would take the room of the next one."""
        with contextlib.suppress(OSError, Unavailable, ModelUnreadable), locked(folder):
            newest = self._newest(folder, model_id)
            named = set(newest.files) if newest is not None else set()
            for path in [*(folder / "versions").glob("*.json")]:
                if int(path.stem) > (newest.version if newest is not None else 0):
                    path.unlink()  # of this commit, which did not come to its head
                    continue
                files = self._files_of(path, model_id)
                if files is None:
                    return
                named |= files
            for name in made - named:
                (folder / "parts" / name).unlink(missing_ok=True)

    def _folder(self, model_id: str) -> Path:
        return self.root / token(model_id)

    def _newest(self, folder: Path, model_id: str) -> Manifest | None:
        try:
            return self._read(folder / MANIFEST, model_id)
        except FileNotFoundError:
            return None

    @spanned("store read")
    def _read(self, path: Path, model_id: str, before: Manifest | None = None) -> Manifest:
        """Read a manifest; `FileNotFoundError` where there is none. Raises `ModelUnreadable`."""
        try:
            return Manifest.from_bytes(path.read_bytes(), before)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise unreadable(model_id, path, error) from None

    def _repeat(self, model_id: str, folder: Path, current: Manifest, request_id: str) -> Version:
        made = current.requests[request_id]
        with contextlib.suppress(UnknownModel):
            return self.version(model_id, made)
        # Retired since; the newest still tells that the request was done.
        return Version(folder / "parts", current, None, self._fetch)

    @staticmethod
    def _write_block(folder: Path, state: StateLike) -> Block:
        dates = np.asarray(state.dates, "datetime64[D]")
        arrays = {"dates": dates, "symbols": np.asarray(state.symbols, dtype=np.str_)}
        arrays |= {DAY_ASSET + name: array for name, array in state.day_asset.items()}
        arrays |= {DAY + name: array for name, array in state.day.items()}
        part = write_part(folder / "parts", "days", arrays)
        return Block(str(dates[0]), str(dates[-1]), len(dates), len(state.symbols), part)

    def _first_days(self, folder: Path, kept: Manifest, n_dates: int) -> tuple[Block, ...]:
        """Give the blocks of a version's first days; a part most of whose days are replaced now is written anew."""
        blocks, left = [], n_dates
        for block in kept.blocks:
            if not left:
                break
            if block.n_dates > left:
                short = replace(block, n_dates=left)
                alone = Manifest("", 0, "", "", "", (short,))
                state = Version(folder / "parts", alone, None, self._fetch).state()
                short = replace(short, last_date=str(state.dates[-1]))
                most_gone = 2 * left < block.part.arrays["dates"].shape[0]
                block = self._write_block(folder, state) if most_gone else short  # noqa: PLW2901
            blocks.append(block)
            left -= block.n_dates
        return tuple(blocks)

    def _merged(self, folder: Path, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Join the short blocks at the end once they hold `MERGE_DAYS` days; so a day is rewritten once at most."""
        first = len(blocks)
        while first and blocks[first - 1].n_dates < MERGE_DAYS:
            first -= 1
        short = blocks[first:]
        if sum(block.n_dates for block in short) < MERGE_DAYS:
            return blocks
        state = Version(folder / "parts", Manifest("", 0, "", "", "", short), None, self._fetch).state()
        return (*blocks[:first], self._write_block(folder, state))

    def _publish(self, folder: Path, manifest: Manifest, before: Manifest | None) -> None:
        """Make a version durable and newest: what it adds to the one before, and then its name."""
        added = manifest.files - (before.files if before else set())
        self._place.publish(
            Step(
                folder / MANIFEST,
                manifest.to_bytes(),
                _kept(folder, manifest.version),
                _kept(folder, before.version) if before else None,
                [folder / "parts" / name for name in sorted(added)],
            )
        )
        self.counters["commits"] += 1

    def _retire(self, folder: Path, model_id: str, keep: int | None = None) -> None:
        """Drop versions beyond the retention rule, then parts that no kept manifest names."""
        keep = self.keep_versions if keep is None else keep
        self._place.retire(folder, keep)
        with locked(folder):
            manifests = sorted((folder / "versions").glob("*.json"))
            n_retired = max(len(manifests) - keep - 1, 0)
            kept = [self._files_of(path, model_id) for path in manifests[n_retired:]]
            retired: set[str] = set()
            for path in manifests[:n_retired]:
                retired |= self._files_of(path, model_id) or set()
                self._files.pop(path, None)
                path.unlink(missing_ok=True)
                self.counters["versions_retired"] += 1
            oldest = time.time() - SWEEP_AGE_S
            unsure = any(files is None for files in kept)  # what that version names, nobody may sweep
            named: set[str] = set().union(*(files for files in kept if files is not None))
            left = [*folder.glob(".*.tmp"), *(folder / "versions").glob(".*.tmp")]
            for path in [*left, *([] if unsure else (folder / "parts").glob("*.bin"))]:
                with contextlib.suppress(FileNotFoundError):  # a commit that failed takes back what it wrote
                    if path.name not in named and (path.name in retired or path.stat().st_mtime < oldest):
                        path.unlink()
                        self.counters["parts_swept"] += 1

    def _files_of(self, path: Path, model_id: str) -> set[str] | None:
        """Files that a kept version names, or None when it cannot be read; it never changes, so it is read once."""
        found = self._files.get(path)
        if found is None:
            try:
                found = self._files[path] = self._read(path, model_id).files
            except ModelUnreadable as error:
                _log.warning("parts are kept: %s", error)
        return found


def _kept(folder: Path, version: int) -> Path:
    """Give the file of an older version."""
    return folder / "versions" / f"{version:08d}.json"


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


__all__ = ["ModelStore", "StateLike", "StoredState", "Version"]
