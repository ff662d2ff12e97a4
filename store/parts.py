"""Parts: files of arrays that are written once, never changed, and read as memory maps."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from contracts.work import new_id
from store.lru import LRU

ALIGNMENT = 64
SYNCS_AT_ONCE = 6


class ArrayRef(NamedTuple):
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


class Layouts:
    """The layouts of a manifest's parts: days of the same names lie alike, so each layout is written once."""

    def __init__(self, written: Sequence[Mapping[str, Any]] = ()) -> None:
        self._written = written
        # Read when a part asks: most parts of a new version are known from the version before.
        self._read: dict[int, Mapping[str, ArrayRef]] = {}
        self._kept: list[Mapping[str, ArrayRef]] = []

    def to_json(self) -> list[dict[str, Any]]:
        """Give the manifest's form of the layouts that parts were given in."""
        return [{name: [ref.offset, ref.dtype, ref.shape] for name, ref in kept.items()} for kept in self._kept]

    def put(self, part: Part) -> dict[str, Any]:
        """Give the manifest's form of a part."""
        if part.arrays not in self._kept:
            self._kept.append(part.arrays)
        return {"file": part.file, "size": part.size, "layout": self._kept.index(part.arrays)}

    def take(self, value: Mapping[str, Any]) -> Part:
        """Read the manifest's form of a part."""
        number = value["layout"]
        layout = self._read.get(number)
        if layout is None:
            written = self._written[number].items()
            layout = self._read[number] = {
                name: ArrayRef(at, dtype, tuple(shape)) for name, (at, dtype, shape) in written
            }
        return Part(value["file"], value["size"], layout)


@contextlib.contextmanager
def making(path: Path) -> Iterator[BinaryIO]:
    """Open a new file; where it cannot be written whole it goes, as on a full disk it would take what room is left."""
    try:
        with path.open("xb") as out:
            yield out
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def write_part(folder: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> Part:
    """Write arrays one behind the other into a new file; durable it is after `sync_all`.

    One file, because each file costs an fsync (several ms on ordinary disks). The name is unique, so that a reader can
    never meet half a file under a name that a manifest gives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{new_id()}.bin"
    refs: dict[str, ArrayRef] = {}
    with making(folder / name) as out:
        for key, array in arrays.items():
            data = np.ascontiguousarray(array)
            out.write(b"\0" * (-out.tell() % ALIGNMENT))
            refs[key] = ArrayRef(out.tell(), data.dtype.str, data.shape)
            out.write(data.view(np.uint8).data if data.dtype.kind == "M" else data.data if data.size else b"")
        size = out.tell()
    return Part(name, size, refs)


class Maps:
    """Memory maps of part files, kept open: a part never changes, and mapping costs more than most reads.

    Bounded, least recently used go first; an array stays valid as long as somebody holds it, even if its file is gone.
    """

    def __init__(self, limit: int = 1024) -> None:
        # By folder and file as they are: joining and hashing paths would cost more than all else here.
        self._open: LRU[tuple[str, str], tuple[mmap.mmap, np.ndarray]] = LRU(limit)

    def read(self, folder: Path, part: Part, name: str) -> np.ndarray:
        """Give one array of a part; read-only, zero-copy."""
        ref = part.arrays[name]
        dtype = np.dtype(ref.dtype)
        if 0 in ref.shape:
            return np.empty(ref.shape, dtype=dtype)
        key = (str(folder), part.file)
        _, whole = self._open.get_or_make(key, lambda: _mapped(*key))
        return whole[ref.offset : ref.offset + dtype.itemsize * math.prod(ref.shape)].view(dtype).reshape(ref.shape)

    def let_go(self) -> None:
        """Drop the pages that were read from this process; what is read again comes from the system's cache."""
        for pages, _ in self._open.values():
            pages.madvise(mmap.MADV_DONTNEED)


def _mapped(folder: str, name: str) -> tuple[mmap.mmap, np.ndarray]:
    with Path(folder, name).open("rb", buffering=0) as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pages, np.frombuffer(pages, np.uint8)


MAPS = Maps()
"""The maps of this process."""


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    _sync(folder)


def sync_all(what: Iterable[Path | int]) -> None:
    """Make files, folders' entries and open files durable, at once: a journal writes what waits together in one go.

    Raises
    ------
    OSError
        One of them could not be made durable; the others have been tried.
    """
    first, *others = what
    asked = [_SYNCS.submit(_sync, each) for each in others]
    try:
        _sync(first)
    finally:
        wait(asked)
    for each in asked:
        each.result()


def _sync(what: Path | int) -> None:
    if isinstance(what, int):
        os.fsync(what)
        return
    descriptor = os.open(what, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_SYNCS = ThreadPoolExecutor(SYNCS_AT_ONCE, thread_name_prefix="sync")
