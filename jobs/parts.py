"""The parts of a recompute and the manifest that commits them: what is there is whole, and is not made again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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


def write_part(folder: Path, slot: Slot, frame: pl.DataFrame, seconds: float) -> None:
    """Put a part in place, durably, and then its note, which says that it is whole."""
    parts = folder / PARTS
    nulls = {name: n for name, n in zip(frame.columns, frame.null_count().row(0), strict=True) if n}
    path = parts / slot.name
    began = time.perf_counter()
    with replacing(path, durable=True) as out:
        frame.write_parquet(out, compression="lz4", statistics=False)
    note = {
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
    with replacing(path.with_suffix(".json"), durable=True) as out:
        out.write(orjson.dumps(note))


def is_made(folder: Path, slot: Slot) -> bool:
    """Say whether a part is there, whole."""
    return (folder / PARTS / slot.name).with_suffix(".json").exists()


def note_of(folder: Path, slot: Slot) -> dict[str, Any] | None:
    """Give a part's note, or None where the part is not made."""
    try:
        note: dict[str, Any] = orjson.loads((folder / PARTS / slot.name).with_suffix(".json").read_bytes())
    except FileNotFoundError:
        return None
    return note


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def commit(folder: Path, manifest: dict[str, Any]) -> None:
    """Name all parts at once: until then a reader has the manifest before, or none."""
    sync_folder(folder / PARTS)
    with replacing(folder / MANIFEST, durable=True) as out:
        out.write(orjson.dumps({"format": FORMAT, **manifest}, option=orjson.OPT_INDENT_2))
    sync_folder(folder)
    named = {part["file"] for part in manifest["parts"]}
    oldest = time.time() - SWEEP_AGE_S
    for path in (folder / PARTS).iterdir():
        if path.with_suffix(".parquet").name not in named and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Give the manifest, or None where nothing was committed."""
    try:
        found: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    return found


def save_state(folder: Path, chain: str, key: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Keep what a chain carries behind a block, and let the one before it go when this one is durable."""
    states = folder / STATES
    path = states / f"{chain}_{key}.npz"
    told = np.frombuffer(orjson.dumps(meta), np.uint8)
    with replacing(path, durable=True) as out:
        np.savez(out, allow_pickle=False, **{"meta": told, **{f"a/{name}": a for name, a in arrays.items()}})
    for other in states.glob(f"{chain}_*.npz"):
        if other != path:
            other.unlink(missing_ok=True)


def load_state(
    folder: Path, chain: str, keys: Iterable[str]
) -> tuple[int, dict[str, np.ndarray], dict[str, Any]] | None:
    """Give the kept state of the last of some blocks that has one, with the block's number."""
    for number, key in reversed(list(enumerate(keys))):
        path = folder / STATES / f"{chain}_{key}.npz"
        try:
            with np.load(path, allow_pickle=False) as held:
                meta = orjson.loads(held["meta"].tobytes())
                return number, {name[2:]: held[name] for name in held.files if name != "meta"}, meta
        except FileNotFoundError:
            continue
        except (OSError, ValueError, EOFError, KeyError):  # of another release, or damaged: it is made again
            path.unlink(missing_ok=True)
    return None


def make_folders(folder: Path) -> None:
    """Make the folders of the results. Raises `OSError` where they cannot be written."""
    for name in (PARTS, STATES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with replacing(folder / ".writable") as out:
        out.write(str(os.getpid()).encode())


def notes_of(folder: Path, slots: Iterable[Slot]) -> Iterator[dict[str, Any]]:
    """Give the notes of those of some parts that are made."""
    for slot in slots:
        note = note_of(folder, slot)
        if note is not None:
            yield note
