"""What the copy of an object store may take on a node's disk: files go that can be had again, the oldest first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import orjson

YOUNG_S = 3600.0
"""A file that no head names and that is younger may belong to a commit under way: it is not had again."""
LOOKS = 50
"""The folder is counted each time that a fiftieth of the room was taken."""
_log = logging.getLogger(__name__)


class Room:
    """Keeps the parts of a copy below a limit.

    Parts of older versions go first, then those of the newest; of each the ones that came longest ago.
    What a process has mapped stays readable, and its room on the disk is free when it lets go.

    Parameters
    ----------
    root
        The copy's folder.
    limit
        Bytes.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self.root = root
        self.limit = limit
        self.evicted = 0
        self._since = limit  # the first file has the folder counted
        self._guard = Lock()

    def taken(self, size: int) -> None:
        """Say that a file of some bytes was added."""
        with self._guard:
            self._since += size
            if self._since * LOOKS < self.limit:
                return
            self._since = 0
            self.tidy()

    def tidy(self) -> None:
        """Remove files until the rest is within the limit."""
        found = sorted(_parts(self.root), key=lambda one: one[1])
        over = sum(size for _, _, size in found) - self.limit
        if over <= 0:
            return
        named = set(_named(self.root))
        young = time.time() - YOUNG_S
        old = [one for one in found if one[0] not in named and one[1] < young]
        for path, _, size in [*old, *(one for one in found if one[0] in named)]:
            if over <= 0:
                return
            path.unlink(missing_ok=True)
            over -= size
            self.evicted += 1
        if over > 0:
            _log.warning("%s takes %d MB more than it may: what is there may not be had again", self.root, over >> 20)


def _parts(root: Path) -> Iterator[tuple[Path, float, int]]:
    for path in root.glob("models/*/parts/*.bin"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        yield path, status.st_mtime, status.st_size


def _named(root: Path) -> Iterator[Path]:
    """Give the parts of the newest versions, as they are known here."""
    for head in root.glob("models/*/manifest.json"):
        try:
            value = orjson.loads(head.read_bytes())
            parts = [block["part"] for block in value["blocks"]] + ([value["latest"]] if value["latest"] else [])
            yield from (head.parent / "parts" / part["file"] for part in parts)
        except (OSError, ValueError, KeyError, TypeError):
            continue
