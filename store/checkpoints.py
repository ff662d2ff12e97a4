"""Checkpoints: what a model carried after some of its days, kept so that a correction need not begin at the first."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contracts.work import new_id
from store.parts import making


class Checkpoint(NamedTuple):
    """What a version's model carried after its first days; the days themselves are in the version's blocks.

    Parameters
    ----------
    n_dates
        How many days that is.
    n_assets
        Names that were known by then: the first so many.
    file
        A file among the parts. It says itself what it holds, so that a manifest of many checkpoints is no longer.
    size
        Its bytes.
    """

    n_dates: int
    n_assets: int
    file: str
    size: int


def write(folder: Path, n_dates: int, n_assets: int, carried: Mapping[str, np.ndarray]) -> Checkpoint:
    """Write the arrays that a version of those days would have as its `latest`; durable it is after `sync_all`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{new_id()}.bin"
    with making(path) as out:
        np.savez(out, **carried)  # type: ignore[arg-type]
        size = out.tell()
    return Checkpoint(n_dates, n_assets, path.name, size)


def decoded(content: bytes, checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Read the arrays of a file's content.

    Raises
    ------
    ValueError
        It is torn, or no such file; each array has a checksum.
    """
    if len(content) != checkpoint.size:
        raise ValueError(f"{len(content)} bytes of {checkpoint.size}")
    try:
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays.items())
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(str(error)) from None


def apart(n_dates: int, every: int, most: int) -> int:
    """Give how many days lie between checkpoints of a history: `every`, doubled until there are `most` at most."""
    while n_dates // every > most:
        every *= 2
    return every


def stops(n_dates: int, every: int, most: int, first: int = 0) -> list[int]:
    """Give after how many days a history gets a checkpoint, of those after `first`; none where `every` is 0."""
    if not every or not most:
        return []
    step = apart(n_dates, every, most)
    return list(range((first // step + 1) * step, n_dates, step))


def kept(found: Iterable[Checkpoint], n_dates: int, every: int, most: int) -> tuple[Checkpoint, ...]:
    """Give the checkpoints that a history of so many days keeps, ascending: `most`, as far apart as `apart` says."""
    if not every or not most:
        return ()
    step, out = apart(n_dates, every, most), list[Checkpoint]()
    for one in sorted(found, key=lambda one: one.n_dates):
        if one.n_dates - (out[-1].n_dates if out else 0) >= step:
            out.append(one)
    return tuple(out)


def due(found: Iterable[Checkpoint], n_dates: int, every: int, most: int) -> bool:
    """Say whether a history of so many days, with these checkpoints, gets one at its end."""
    if not every or not most:
        return False
    return n_dates - max((one.n_dates for one in found), default=0) >= apart(n_dates, every, most)
