"""Room on the disks that a run writes to: told of before it is gone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

LOW_SHARE = 0.1
"""On a small disk, so much of it free is enough."""
MIB = 2**20


class Room(NamedTuple):
    """What a disk has: free and all, bytes."""

    free: int
    total: int


def room(path: Path) -> Room | None:
    """Give the room on the disk of a folder, or of the nearest above it that is there; None when it cannot be asked."""
    for folder in (path, *path.parents):
        try:
            usage = shutil.disk_usage(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return Room(usage.free, usage.total)
    return None


def low(places: dict[str, Path], low_mb: int) -> dict[str, str]:
    """Name the disks that are full or nearly: component: reason.

    Parameters
    ----------
    places
        What lies where.
    low_mb
        Free MB below which a disk is nearly full; on a small one, a tenth of it.
    """
    found = {}
    for name, path in places.items():
        has = room(path)
        if has is None:
            found[f"disk:{name}"] = f"the disk of {path} cannot be asked for its room"
        elif has.free < min(low_mb * MIB, int(has.total * LOW_SHARE)):
            state = "is full" if has.free < MIB else "is nearly full"
            found[f"disk:{name}"] = (
                f"the disk of {path} {state}: {has.free / MIB:.0f} MB of {has.total / MIB:.0f} MB are free"
            )
    return found
