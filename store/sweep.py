"""Older versions of an object store's values let go, with the parts that no kept one names; behind the commits."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Lock

from contracts.errors import Unavailable
from store.bucket import Bucket
from store.lru import LRU
from store.manifest import Manifest

SWEEP_AGE_S = 24 * 3600.0
"""A part that no head names is swept when it is older; a younger one may belong to a commit under way."""
FOLDERS_WAITING = 1000
_log = logging.getLogger(__name__)


class Sweeps:
    """Sweeps folders one after the other on a thread; a folder that waits already is swept once.

    Parameters
    ----------
    bucket, root
        The object store, and the folder of its copy, by which folders are named.
    """

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket = bucket
        self._root = root
        self._waiting: set[Path] = set()
        self._guard = Lock()
        self._named: LRU[str, frozenset[str]] = LRU(4096)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweep")
        self.counters = {"versions_retired": 0, "parts_swept": 0, "failures": 0}

    def later(self, folder: Path, keep: int) -> None:
        """Sweep a value's folder soon but for so many older versions; where too many wait, at its next commit."""
        with self._guard:
            if folder in self._waiting or len(self._waiting) >= FOLDERS_WAITING:
                return
            self._waiting.add(folder)
        self._thread.submit(self._sweep, folder, keep)

    def _sweep(self, folder: Path, keep: int) -> None:
        with self._guard:
            self._waiting.discard(folder)
        try:
            self.sweep(folder, keep)
        except (Unavailable, OSError) as error:  # the next commit tries again
            self.counters["failures"] += 1
            _log.warning("older versions stay: %s", error)

    def sweep(self, folder: Path, keep: int) -> None:
        """Remove what is beyond the rule. Raises `Unavailable`; what was removed by then stays so."""
        below = folder.relative_to(self._root).as_posix()
        # Parts are listed first: one that is named later is younger than what is swept.
        parts = list(self._bucket.listed(f"{below}/parts/"))
        versions = sorted(one.key for one in self._bucket.listed(f"{below}/versions/"))
        gone, kept = versions[: max(len(versions) - keep, 0)], versions[max(len(versions) - keep, 0) :]
        retired = frozenset[str]().union(*(self._files(key) or frozenset() for key in gone)) if parts else frozenset()
        self._bucket.delete(gone)
        self.counters["versions_retired"] += len(gone)
        if not parts:
            return
        held = [self._files(key) for key in kept] + [self._newest(below)]
        if any(files is None for files in held):  # what that version names, nobody may sweep
            return
        named = frozenset[str]().union(*(files for files in held if files is not None))
        oldest = max(one.modified for one in parts) - timedelta(seconds=SWEEP_AGE_S)  # by the store's own clock
        left = [one for one in parts if (name := one.key.rpartition("/")[2]) not in named
                and (name in retired or one.modified < oldest)]  # fmt: skip
        self._bucket.delete([one.key for one in left])
        self.counters["parts_swept"] += len(left)

    def _files(self, key: str) -> frozenset[str] | None:
        """Files that a kept version names, or None where it cannot be read; it never changes, so it is read once."""
        found = self._named.get(key)
        if found is None:
            try:
                head = self._bucket.get(key)
            except FileNotFoundError:
                return None
            found = _files_of(head.content) if head is not None else None
            if found is not None:
                self._named.put(key, found)
        return found

    def _newest(self, below: str) -> frozenset[str] | None:
        try:
            head = self._bucket.get(f"heads/{below}/manifest.json")
        except FileNotFoundError:
            return None
        return _files_of(head.content) if head is not None else None


def _files_of(content: bytes) -> frozenset[str] | None:
    try:
        return frozenset(Manifest.from_bytes(content).files)  # checkpoints too, which corrections go on from
    except ValueError:
        return None
