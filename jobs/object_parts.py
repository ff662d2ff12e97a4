"""Parts of a recompute in an object store: each worker puts its own there, and the manifest is one put.

A part is written to a file of the node first, whose hash its note has, and removed when it is uploaded. Names are those
of a folder of results, so that a copy of all objects is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from jobs.parts import (
    DAMAGED,
    MANIFEST,
    PARTS,
    STATES,
    SWEEP_AGE_S,
    Slot,
    State,
    packed,
    read_state,
    sweep_unfinished,
    write_state,
    written,
)
from store.bucket import Bucket

LISTED_EVERY_S = 5.0
"""How often what others made is listed while a job runs."""


class ObjectResults:
    """Parts below a prefix of a bucket.

    Parameters
    ----------
    uri
        Such as ``s3://bucket/prefix``.
    scratch
        A folder of this node for what is not uploaded yet.
    """

    def __init__(self, uri: str, scratch: Path) -> None:
        self._bucket = Bucket(uri)
        self.name, self.scratch = self._bucket.uri, scratch
        self._there: set[str] = set()
        self._notes: dict[Slot, dict[str, Any]] = {}
        self._listed_at = -LISTED_EVERY_S

    def begin(self) -> None:
        """Put a small object, so that a place that cannot be written is known before anything is computed."""
        for name in (PARTS, STATES):
            (self.scratch / name).mkdir(parents=True, exist_ok=True)
        self._bucket.put(".writable", b"recompute")

    def is_made(self, slot: Slot) -> bool:
        """Look for the note in the last listing: what others made since is made again, to the same bytes."""
        if self._listed_at < 0.0:
            self._list()
        return _note(slot) in self._there

    def notes(self, slots: Iterable[Slot], *, fresh: bool = True) -> dict[Slot, dict[str, Any]]:
        """Read the notes that a listing has, each once."""
        if fresh or time.monotonic() - self._listed_at > LISTED_EVERY_S:
            self._list()
        found = {}
        for slot in slots:
            if slot not in self._notes and _note(slot) in self._there:
                head = self._bucket.get(_note(slot))
                assert head is not None  # no condition was given
                self._notes[slot] = orjson.loads(head.content)
            if slot in self._notes and _note(slot) in self._there:
                found[slot] = self._notes[slot]
        return found

    def write_part(self, slot: Slot, frame: pl.DataFrame, seconds: float) -> None:
        """Upload the part, then the note."""
        path = self.scratch / PARTS / slot.name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            note = written(path, slot, frame, seconds)
            self._bucket.put(f"{PARTS}/{slot.name}", path)
        finally:
            path.unlink(missing_ok=True)
        self._bucket.put(_note(slot), orjson.dumps(note))
        self._there.add(_note(slot))

    def commit(self, manifest: dict[str, Any]) -> None:
        """Put the manifest; old parts that it does not name go."""
        self._bucket.put(MANIFEST, packed(manifest))
        named = {Path(part["file"]).stem for part in manifest["parts"]}
        oldest = datetime.now(UTC) - timedelta(seconds=SWEEP_AGE_S)
        others = [one for one in self._bucket.listed(PARTS) if Path(one.key).stem not in named]
        self._bucket.delete([one.key for one in others if one.modified < oldest])
        for name in (PARTS, STATES):
            sweep_unfinished(self.scratch / name)

    def manifest(self) -> dict[str, Any] | None:
        """Fetch it. Raises `ValueError` where the object is none."""
        try:
            head = self._bucket.get(MANIFEST)
        except FileNotFoundError:
            return None
        assert head is not None  # no condition was given
        found: dict[str, Any] = orjson.loads(head.content)
        return found

    def save_state(self, chain: str, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Upload the state, then remove the one before."""
        path = self.scratch / STATES / f"{chain}_{key}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_state(path, arrays, meta)
            self._bucket.put(f"{STATES}/{path.name}", path)
        finally:
            path.unlink(missing_ok=True)
        self._bucket.delete([one for one in self._states(chain) if one != f"{STATES}/{path.name}"])

    def load_state(self, chain: str, keys: Iterable[str]) -> State | None:
        """Fetch the last one that is there; one of another release, or damaged, is made again."""
        there = set(self._states(chain))
        for number, key in reversed(list(enumerate(keys))):
            name = f"{STATES}/{chain}_{key}.npz"
            if name in there:
                path = self.scratch / name
                self._bucket.download(name, path)
                try:
                    return number, *read_state(path)
                except DAMAGED:
                    self._bucket.delete([name])
                finally:
                    path.unlink(missing_ok=True)
        return None

    def _states(self, chain: str) -> list[str]:
        return [one.key for one in self._bucket.listed(STATES) if one.key.startswith(f"{STATES}/{chain}_")]

    def _list(self) -> None:
        self._there |= {one.key for one in self._bucket.listed(PARTS) if one.key.endswith(".json")}
        self._listed_at = time.monotonic()


def _note(slot: Slot) -> str:
    return f"{PARTS}/{Path(slot.name).stem}.json"
