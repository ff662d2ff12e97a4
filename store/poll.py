"""The heads of an object store followed by a node's copy: one listing tells which of them changed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from functools import partial
from pathlib import Path

from store.manifest import Manifest
from store.objects import HEADS, ObjectCommit, signature
from store.version import MANIFEST

KINDS = ("models/*/manifest.json", "portfolios/*/head.json", "watches/*.json", "markets/*.json", "estimators/*.json",
         "formulas.json")  # fmt: skip
"""The heads, as files below the folder."""
_HEAD = re.compile(
    r"(models/[^/]+/manifest|portfolios/[^/]+/head|(watches|markets|estimators)/[^/.][^/]*|formulas)\.json"
)
POLLED, LEADS = ".polled", ".polls"
BEHIND_S = 30.0
_log = logging.getLogger(__name__)


def is_head(name: str) -> bool:
    """Tell whether a file, by its name below the store's folder, is a head."""
    return _HEAD.fullmatch(name) is not None


def poll(place: ObjectCommit) -> int:
    """Bring what changed since the last look; give how many heads are others than before. Raises `Unavailable`."""
    here = {path: signature(path) for kind in KINDS for path in place.root.glob(kind)}
    there, changed = set(), 0
    for one in place.bucket.listed(HEADS):
        if not is_head(one.key.removeprefix(HEADS)):
            continue
        head = place.head_of(one.key)
        there.add(head)
        if not place.knows(head, one.e_tag):
            changed += place.look(head, partial(_bring, place, head))
    for head, before in here.items():
        if head not in there:
            place.forget(head, before)
            changed += 1
    (place.root / POLLED).touch(mode=0o600)
    return changed


def _bring(place: ObjectCommit, head: Path, content: bytes) -> None:
    """Have what a new version adds here before it is the newest, where this node reads the model."""
    parts = head.parent / "parts"
    if head.name != MANIFEST or not parts.is_dir():
        return
    with contextlib.suppress(ValueError, FileNotFoundError):
        known = Manifest.from_bytes(head.read_bytes()).files
        for name in sorted(Manifest.from_bytes(content).files - known):
            if not (parts / name).exists():
                place.fetch(parts / name)


def last_polled(root: Path) -> float | None:
    """Say when some process of this node saw all heads last, seconds since the epoch; None where none ever did."""
    try:
        return (root / POLLED).stat().st_mtime
    except FileNotFoundError:
        return None


def behind(root: Path, poll_s: float) -> str | None:
    """Say why other nodes' versions are not seen, None where they are."""
    last = last_polled(root)
    age = time.time() - last if last is not None else None
    if age is not None and age < max(BEHIND_S, 5 * poll_s):
        return None
    seen = "were never seen" if age is None else f"were seen last {age:.0f} s ago"
    return f"the object store does not answer, or nobody asks it: its heads {seen}; what is here is read"


class Polling:
    """A thread that looks for changed heads, in one process of a node at a time; the kernel frees a dead one's lock."""

    def __init__(self, place: ObjectCommit) -> None:
        self._place = place
        self._stopped = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="store-poll", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; waits for a look that is under way."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        descriptor = os.open(self._place.root / LEADS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not self._stopped.wait(self._place.poll_s):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._look()
        finally:
            os.close(descriptor)

    def _look(self) -> None:
        try:
            poll(self._place)
        except Exception as error:  # noqa: BLE001  (whatever it is, the next look may go well)
            if not self._failed:
                _log.warning("versions of other nodes are not seen: %s", error)
            self._failed = True
        else:
            if self._failed:
                _log.warning("versions of other nodes are seen again")
            self._failed = False


def is_fresh(place: ObjectCommit) -> bool:
    """Tell whether some process of this node looked within twice the time between two looks."""
    last = last_polled(place.root)
    return last is not None and 0 <= time.time() - last < 2 * place.poll_s
