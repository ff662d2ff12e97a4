"""Files that others read while they are written: each is put in place whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from contracts.work import new_id


@contextlib.contextmanager
def replacing(
    path: Path, *, durable: bool = False, private: bool = False, keep_first: bool = False
) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends; when the block raises, `path` stays as it was.

    Parameters
    ----------
    path
        Where the file goes; its folder exists. Until then it is ``.<name>.<id>.tmp`` beside.
    durable
        Have the content on the disk before it is in place (fsync), so that a power cut leaves one of the two whole. The
        folder's entry is not synced; who needs that syncs the folder once for all its files.
    private
        Mode 0600 from the first byte on, whatever the umask.
    keep_first
        A file that is there already stays: of several writers the first counts. On a file system without hard links
        the last does.
    """
    fresh = _beside(path)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb") as out:
            yield out
            if durable:
                out.flush()
                os.fsync(out.fileno())
        if not keep_first or not _linked(fresh, path):
            fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def point(link: Path, target: Path) -> None:
    """Make a symbolic link in place of what `link` was; at no moment is there none."""
    fresh = _beside(link)
    fresh.symlink_to(target)
    try:
        fresh.replace(link)
    except BaseException:
        fresh.unlink()
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{new_id()}.tmp")


def _linked(fresh: Path, path: Path) -> bool:
    """Put the file in place unless there is one; false where the file system has no hard links."""
    try:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    except OSError:
        return False
    fresh.unlink()
    return True
