"""A store in an object store, of which each node keeps a copy: commits are one conditional put of a value's head.

Keys are the names that files have in a folder, but for heads, which lie together below ``heads/``: one listing tells
which of them changed. What a head names is uploaded before it, and never changes. The head of a version becomes the
object of that version's number when the next one takes its place, so no version that lost the race ever has a number.

A put whose answer is lost is looked up: if the head is what was to be written, or says in its requests that it was, it
was done.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from contracts.errors import Unavailable
from contracts.files import replacing
from store.bucket import Bucket, NoAnswer, Refused
from store.commit import FolderCommit, HeadMoved, Step
from store.lock import locked
from store.lru import LRU
from store.probe import probe
from store.room import Room
from store.sweep import Sweeps

if TYPE_CHECKING:
    from obstore import UpdateVersion

HEADS = "heads/"
PUT_S = 30.0
"""How long a head is tried to be put. What is not known then is told so; a repeat of the request finds it out."""
UPLOADS_AT_ONCE = 4
UPLOADED_MOST_S = 6 * 3600.0
"""A commit whose parts took longer is given up: what no head names is swept when it is older (`store.sweep`)."""
MISSES_REMEMBERED = 1024
LOOK_LOCK_S = 1.0
AWAY_S = 5.0
"""How long a store that did not answer is not asked for names that are not here."""

_log = logging.getLogger(__name__)
Signature = tuple[int, int]


class _Known(NamedTuple):
    """A head as it was seen last in the object store, and the file that it is here."""

    version: UpdateVersion
    signature: Signature


class ObjectCommit:
    """A store below a prefix of a bucket.

    Parameters
    ----------
    bucket
        The prefix.
    root
        The folder of this node's copy; its processes share it.
    poll_s
        How often heads are looked at, seconds; a name that is not here is asked for as often at most.
    cache_bytes
        What the copy's files may take; see `store.room`.
    """

    def __init__(self, bucket: Bucket, root: Path, poll_s: float, cache_bytes: int) -> None:
        self.bucket = bucket
        self.root = root
        self.poll_s = poll_s
        self.counters = {"heads_fetched": 0, "files_fetched": 0, "own_puts_found": 0, "conflicts": 0}
        self.room = Room(root, cache_bytes)
        self._sweeps = Sweeps(bucket, root)
        self._folder = FolderCommit(root)
        self._known: dict[str, _Known] = {}
        self._missed: LRU[str, float] = LRU(MISSES_REMEMBERED)
        self._away_until = 0.0
        self._probed = False
        self._guard = Lock()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def counts(self) -> dict[str, int]:
        """Count heads and files that were fetched, files that made room, puts, and what was swept."""
        told = {"files_evicted": self.room.evicted, **self.counters}
        return {f"object_{name}": n for name, n in told.items()} | {
            f"object_{name}": n for name, n in self._sweeps.counters.items()
        }

    # -- what a writer does, under the lock of the head's folder

    def refresh(self, head: Path) -> None:
        """Have the newest head there is lie at its place. Raises `Unavailable`."""
        key = self.head_key(head)
        known = self._known.get(key)
        unless = known.version["e_tag"] if known is not None and known.signature == signature(head) else None
        try:
            found = self.bucket.get(key, unless)
        except FileNotFoundError:
            self._known.pop(key, None)
            head.unlink(missing_ok=True)
            return
        if found is not None:
            self._take(head, found.content, found.version)

    def publish(self, step: Step) -> None:
        """Upload what is new, put the head if it is still what `refresh` found, and have the copy follow.

        Raises
        ------
        HeadMoved
            Another node's change was first.
        Unavailable
            The store gave no answer in time, so that it may or may not be done: a repeat finds out.
        """
        key = self.head_key(step.head)
        known = self._known.get(key)
        self._probe()
        began = time.monotonic()
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            asked = [pool.submit(self.bucket.put, self.key(path), path) for path in step.added]
            if known is not None and step.kept_before is not None:
                asked.append(pool.submit(self._keep, self.key(step.kept_before), step.head.read_bytes()))
        for each in asked:
            each.result()
        if time.monotonic() - began > UPLOADED_MOST_S:
            raise Unavailable("the upload took so long that its files may have been swept: ask again")
        version = self._put(key, step.content, known.version if known is not None else None)
        try:
            self._folder.publish(step)
        except OSError as error:
            raise Unavailable(
                f"the change is in {self.bucket.uri}, but this node's copy cannot be written: {error.strerror}; "
                "ask again with the same request_id once there is room"
            ) from error
        self.room.taken(sum(path.stat().st_size for path in step.added))
        self._known[key] = _Known(version, signature(step.head) or (0, 0))

    def _keep(self, key: str, content: bytes) -> None:
        """Have the head that goes stay under its number; who tried before may have put it already."""
        with contextlib.suppress(HeadMoved):
            self._put(key, content, None)

    def _put(self, key: str, content: bytes, expected: UpdateVersion | None) -> UpdateVersion:
        deadline = time.monotonic() + PUT_S
        pause = 0.05
        while True:
            try:
                return self.bucket.put_if(key, content, expected)
            except (Refused, NoAnswer) as error:
                refused = error
            with contextlib.suppress(NoAnswer):
                found = self._seen(key)
                if found is not None and found[0] == content:
                    self.counters["own_puts_found"] += 1
                    return found[1]
                if (found[1]["e_tag"] if found is not None else None) != (expected["e_tag"] if expected else None):
                    self.counters["conflicts"] += 1
                    raise HeadMoved(key) from None
            if time.monotonic() > deadline:  # nor can the put that got no answer be taken back
                why = str(refused) if isinstance(refused, NoAnswer) else "it is busy with others' puts"
                raise NoAnswer(
                    f"{why}; whether the change was made is not known: ask again with the same request_id",
                    retry_after_s=5.0,
                ) from None
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(2 * pause, 2.0)

    def _seen(self, key: str) -> tuple[bytes, UpdateVersion] | None:
        try:
            return self.bucket.get(key)
        except FileNotFoundError:
            return None

    def remove(self, head: Path, others: Sequence[Path] = ()) -> None:
        """End a value that keeps no versions, in the object store first."""
        if not head.exists():
            raise FileNotFoundError(2, "No such file or directory", str(head))
        self.bucket.delete([self.head_key(head)])
        self._known.pop(self.head_key(head), None)
        self._folder.remove(head)
        self.drop(others)

    def drop(self, paths: Sequence[Path]) -> None:
        """Remove objects that no head names any more, and their copies."""
        self.bucket.delete([self.key(path) for path in paths])
        self._folder.drop(paths)

    def retire(self, folder: Path, keep: int) -> None:
        """Let older versions go, and parts that none of the kept ones names."""
        self._sweeps.later(folder, keep)

    # -- what a reader does

    def fetch(self, path: Path) -> None:
        """Download a file that never changes. Raises `FileNotFoundError`, `Unavailable`."""
        self.bucket.download(self.key(path), path)
        self.counters["files_fetched"] += 1
        self.room.taken(path.stat().st_size)

    def missed(self, head: Path) -> bool:
        """Look for a head that is not here, once in `poll_s` at most.

        Raises
        ------
        Unavailable
            The store does not answer; for some seconds it is not asked again.
        """
        key = self.head_key(head)
        now = time.monotonic()
        if now < self._away_until:
            raise NoAnswer(f"the store {self.bucket.uri} does not answer, and {head.parent.name} is not here")
        last = self._missed.get(key)
        if last is None or now - last >= self.poll_s:
            self._missed.put(key, now)
            try:
                self.look(head, quick=True)
            except NoAnswer:
                self._missed.pop(key)
                self._away_until = time.monotonic() + AWAY_S
                raise
        return head.exists()

    def look(self, head: Path, first: Callable[[bytes], None] = lambda _: None, *, quick: bool = False) -> bool:
        """Have a head of another node's lie at its place, after `first` saw it; true where it is not what was there.

        No lock is held while the store is asked: what a writer of this node put in place meanwhile stays.
        """
        before = signature(head)
        key = self.head_key(head)
        known = self._known.get(key)
        unless = known.version["e_tag"] if known is not None and known.signature == before else None
        try:
            found = self.bucket.get(key, unless, quick=quick)
        except FileNotFoundError:
            return False
        if found is None:
            return False
        first(found.content)
        head.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with locked(head.parent, LOOK_LOCK_S):
                if signature(head) != before:
                    return False
                return self._take(head, found.content, found.version)
        except Unavailable:  # a writer of this node uploads, and has the head by itself
            return False

    def forget(self, head: Path, before: Signature | None) -> None:
        """Take a head away that the object store has no longer, unless it was put meanwhile."""
        # A writer that uploads just now has it by itself.
        with contextlib.suppress(Unavailable, FileNotFoundError), locked(head.parent, LOOK_LOCK_S):
            if signature(head) == before:
                head.unlink(missing_ok=True)
                self._known.pop(self.head_key(head), None)

    def names(self, folder: Path) -> list[str]:
        """Names of the objects of a folder of what never changes, in order."""
        prefix = self.key(folder) + "/"
        return sorted(one.key.removeprefix(prefix) for one in self.bucket.listed(prefix))

    # -- names

    def key(self, path: Path) -> str:
        """Give the key of what never changes."""
        return path.relative_to(self.root).as_posix()

    def head_key(self, head: Path) -> str:
        """Give the key of a head."""
        return HEADS + self.key(head)

    def head_of(self, key: str) -> Path:
        """Give the place of a head from its key."""
        return self.root / key.removeprefix(HEADS)

    # -- inside

    def knows(self, head: Path, e_tag: str | None) -> bool:
        """Tell whether a head lies here as a listing tells of it."""
        known = self._known.get(self.head_key(head))
        return known is not None and known.version["e_tag"] == e_tag and known.signature == signature(head)

    def _take(self, head: Path, content: bytes, version: UpdateVersion) -> bool:
        """Put a head in place where it differs; under the lock of its folder."""
        same = False
        with contextlib.suppress(FileNotFoundError):
            same = head.read_bytes() == content
        if not same:
            head.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(head, private=True) as out:
                out.write(content)
            self.counters["heads_fetched"] += 1
        self._known[self.head_key(head)] = _Known(version, signature(head) or (0, 0))
        return not same

    def _probe(self) -> None:
        """Find out, before the first change, whether the store holds conditions."""
        with self._guard:
            if not self._probed:
                probe(self.bucket)
                self._probed = True


def signature(path: Path) -> Signature | None:
    """Tell one state of a file from another; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
