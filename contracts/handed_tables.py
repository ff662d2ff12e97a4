"""Tables that an actor hands to a process of its machine in files, which the taker removes.

An answer above 100 KB passes Ray's object store, which takes several milliseconds for 2.5 MB on a busy machine. A file
that is removed when it was read never reaches the disk.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from contracts.frames import ARROW_STREAM, FILE_MARK, file_reference
from contracts.work import new_id

LEFT_S = 60.0
"""What nobody took by then is removed: the taker was killed."""


def hand(folder: Path, tables: Sequence[bytes]) -> list[bytes]:
    """Write tables into a folder; gives what stands for each. Where they cannot be written they are given as they are.

    Parameters
    ----------
    folder : Path
        Below the run directory; made when missing. For this alone: files that were left long ago are removed.
    tables : sequence of bytes
        Arrow IPC streams.
    """
    made: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        for table in tables:
            made.append(folder / f"{new_id()}.arrow")
            made[-1].write_bytes(table)
    except OSError:  # a full disk
        _remove(made)
        return list(tables)
    return [file_reference(path, ARROW_STREAM) for path in made]


def take(tables: Sequence[bytes]) -> list[bytes]:
    """Read the tables that were handed, and remove their files.

    Raises
    ------
    OSError
        A file is not there: another machine's, or one that was left too long.
    """
    paths = {table: _path(table) for table in tables if table.startswith(FILE_MARK)}
    try:
        return [paths[table].read_bytes() if table in paths else table for table in tables]
    finally:
        _remove(paths.values())


def _path(reference: bytes) -> Path:
    return Path(reference[len(FILE_MARK) :].decode().partition("\n")[2])


def _sweep(folder: Path) -> None:
    before = time.time() - LEFT_S
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
