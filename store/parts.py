"""Parts: files of arrays that are written once, never changed, and read as memory maps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.work import new_id

ALIGNMENT = 64


@dataclass(frozen=True)
class ArrayRef:
    """Where one array lies inside a part file."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A part file and the arrays in it, by name."""

    file: str
    size: int
    arrays: Mapping[str, ArrayRef]

    def to_json(self) -> dict[str, Any]:
        """Give the manifest's form."""
        arrays = {name: [ref.offset, ref.dtype, list(ref.shape)] for name, ref in self.arrays.items()}
        return {"file": self.file, "size": self.size, "arrays": arrays}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Part:
        """Read the manifest's form."""
        arrays = {name: ArrayRef(ref[0], ref[1], tuple(ref[2])) for name, ref in value["arrays"].items()}
        return Part(value["file"], value["size"], arrays)


def write_part(folder: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> Part:
    """Write arrays one behind the other into a new file and make it durable.

    One file, because each file costs an fsync (several ms on ordinary disks). The name is unique, so that a reader can
    never meet half a file under a name that a manifest gives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{new_id()}.bin"
    refs: dict[str, ArrayRef] = {}
    with (folder / name).open("xb") as out:
        for key, array in arrays.items():
            data = np.ascontiguousarray(array)
            out.write(b"\0" * (-out.tell() % ALIGNMENT))
            refs[key] = ArrayRef(out.tell(), data.dtype.str, data.shape)
            out.write(data.view(np.uint8).data if data.dtype.kind == "M" else data.data if data.size else b"")
        out.flush()
        os.fsync(out.fileno())
        size = out.tell()
    return Part(name, size, refs)


def read_array(folder: Path, part: Part, name: str) -> np.ndarray:
    """Map one array of a part; read-only, zero-copy, valid as long as the map lives even if the file is unlinked."""
    ref = part.arrays[name]
    if 0 in ref.shape:
        return np.empty(ref.shape, dtype=np.dtype(ref.dtype))
    return np.memmap(folder / part.file, dtype=np.dtype(ref.dtype), mode="r", offset=ref.offset, shape=ref.shape)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
