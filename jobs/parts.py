"""The parts of a recompute and the manifest that commits them: what is there is whole, and is not made again.

Results lie in a folder; `jobs.object_parts` keeps them in an object store.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
import polars as pl

from contracts.files import replacing
from store.parts import sync_folder

PARTS, STATES, MANIFEST = "parts", "states", "manifest.json"
FORMAT = 1
SWEEP_AGE_S = 600.0
"""A part that the manifest does not name is removed when it is older: a younger one may be of a run under way."""
_PIECE = 1 << 20


class Slot(NamedTuple):
    """The place of a part: what it holds, of which days, made of which inputs."""

    what: str
    first: str
    last: str
    key: str

    @property
    def name(self) -> str:
        """Name the part's file, which no other content can have."""
        return f"{self.what}_{self.first}_{self.last}_{self.key}.parquet"


State = tuple[int, dict[str, np.ndarray], dict[str, Any]]
"""The number of a block, and what a chain carries behind it."""


class Results(Protocol):
    """Where parts go."""

    name: str
    """The place, for people."""
    scratch: Path
    """A folder of this node, which has the lock of the work."""

    def begin(self) -> None:
        """Make sure that parts can be written. Raises `OSError`, `Unavailable`."""
        ...

    def is_made(self, slot: Slot) -> bool:
        """Say whether a part is there, whole."""
        ...

    def notes(self, slots: Iterable[Slot], *, fresh: bool = True) -> dict[Slot, dict[str, Any]]:
        """Give the notes of those of some parts that are made; not fresh, some may be left out for now."""
        ...

    def write_part(self, slot: Slot, frame: pl.DataFrame, seconds: float) -> None:
        """Put a part in place, durably, and then its note, which says that it is whole."""
        ...

    def commit(self, manifest: dict[str, Any]) -> None:
        """Name all parts at once: until then a reader has the manifest before, or none."""
        ...

    def manifest(self) -> dict[str, Any] | None:
        """Give what was committed last; None where nothing was."""
        ...

    def save_state(self, chain: str, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Keep what a chain carries behind a block, and let the one before it go when this one is durable."""
        ...

    def load_state(self, chain: str, keys: Iterable[str]) -> State | None:
        """Give the kept state of the last of some blocks that has one."""
        ...


class FolderResults:
    """Parts in a folder that all workers share."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.scratch = folder
        self.name = str(folder)

    def begin(self) -> None:
        """Make the folders."""
        for name in (PARTS, STATES):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / ".writable") as out:
            out.write(str(os.getpid()).encode())

    def is_made(self, slot: Slot) -> bool:
        """Look for the note."""
        return self._note(slot).exists()

    def notes(self, slots: Iterable[Slot], *, fresh: bool = True) -> dict[Slot, dict[str, Any]]:  # noqa: ARG002
        """Read the notes."""
        found = {}
        for slot in slots:
            try:
                found[slot] = orjson.loads(self._note(slot).read_bytes())
            except FileNotFoundError:
                continue
        return found

    def write_part(self, slot: Slot, frame: pl.DataFrame, seconds: float) -> None:
        """Write the part, then the note."""
        note = written(self.folder / PARTS / slot.name, slot, frame, seconds)
        with replacing(self._note(slot), durable=True) as out:
            out.write(orjson.dumps(note))

    def commit(self, manifest: dict[str, Any]) -> None:
        """Put the manifest in place; old parts that it does not name go."""
        folder = self.folder
        sync_folder(folder / PARTS)
        with replacing(folder / MANIFEST, durable=True) as out:
            out.write(packed(manifest))
        sync_folder(folder)
        named = {part["file"] for part in manifest["parts"]}
        oldest = time.time() - SWEEP_AGE_S
        for path in (folder / PARTS).iterdir():
            if path.with_suffix(".parquet").name not in named and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
        sweep_unfinished(folder / STATES)

    def manifest(self) -> dict[str, Any] | None:
        """Read it. Raises `ValueError` where the file is none."""
        return read_manifest(self.folder)

    def save_state(self, chain: str, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Write the state, then remove the one before."""
        states = self.folder / STATES
        path = states / f"{chain}_{key}.npz"
        write_state(path, arrays, meta)
        for other in states.glob(f"{chain}_*.npz"):
            if other != path:
                other.unlink(missing_ok=True)

    def load_state(self, chain: str, keys: Iterable[str]) -> State | None:
        """Read the last one that is there; one of another release, or damaged, is made again."""
        for number, key in reversed(list(enumerate(keys))):
            path = self.folder / STATES / f"{chain}_{key}.npz"
            try:
                return number, *read_state(path)
            except FileNotFoundError:
                continue
            except DAMAGED:
                path.unlink(missing_ok=True)
        return None

    def _note(self, slot: Slot) -> Path:
        return (self.folder / PARTS / slot.name).with_suffix(".json")


def sweep_unfinished(folder: Path) -> None:
    """Remove what a run that was killed had begun to write; what is younger may be of one under way."""
    oldest = time.time() - SWEEP_AGE_S
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


DAMAGED = (OSError, ValueError, EOFError, KeyError)
"""What reading a state raises that is none, or is cut off."""


def written(path: Path, slot: Slot, frame: pl.DataFrame, seconds: float) -> dict[str, Any]:
    """Write a part to a file, durably; give its note."""
    nulls = {name: n for name, n in zip(frame.columns, frame.null_count().row(0), strict=True) if n}
    began = time.perf_counter()
    with replacing(path, durable=True) as out:
        frame.write_parquet(out, compression="lz4", statistics=False)
    return {
        "file": slot.name,
        "what": slot.what,
        "first": slot.first,
        "last": slot.last,
        "rows": frame.height,
        "columns": frame.width,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "nulls": nulls,
        "seconds": round(seconds + time.perf_counter() - began, 4),
    }


def packed(manifest: dict[str, Any]) -> bytes:
    """Write a manifest as it is kept."""
    return orjson.dumps({"format": FORMAT, **manifest}, option=orjson.OPT_INDENT_2)


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Give the manifest of a folder, or None where nothing was committed."""
    try:
        found: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    return found


def write_state(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write what a chain carries to a file, durably."""
    told = np.frombuffer(orjson.dumps(meta), np.uint8)
    with replacing(path, durable=True) as out:
        np.savez(out, allow_pickle=False, **{"meta": told, **{f"a/{name}": a for name, a in arrays.items()}})


def read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_state` wrote. Raises `FileNotFoundError`, and `DAMAGED` for any other file."""
    with np.load(path, allow_pickle=False) as held:
        meta = orjson.loads(held["meta"].tobytes())
        return {name[2:]: held[name] for name in held.files if name != "meta"}, meta
