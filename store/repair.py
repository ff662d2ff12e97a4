"""A damaged model made whole again from its newest version that is: as a new version, and nothing is thrown away."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from contracts.work import new_id
from store.damage import HEAD, kept, models, named, numbers, of_checkpoint, of_model, of_version
from store.files import Files, opened
from store.manifest import Manifest

ASIDE = "damaged"
"""Manifests that cannot be read go there; nobody reads them."""


class Repaired(NamedTuple):
    """What became of a damaged model.

    Parameters
    ----------
    model_id
        Which.
    version
        The new version; None where no version is whole.
    of
        The version whose content it has.
    days_lost
        Days that the damaged newest version had beyond it; None where that cannot be read.
    """

    model_id: str
    version: int | None
    of: int | None
    days_lost: int | None


def repair(place: Files | Path, *, dry: bool = False) -> list[Repaired]:
    """Give every model whose newest version is damaged a new version: the content of its newest whole one.

    The number goes on, so that nothing that was published under a damaged version's number means something else.
    Manifests that cannot be read are put into `damaged/` of the model's folder. Portfolios and watches are documents of
    their own: `check` names those that cannot be read, and a copy brings them back.

    Raises
    ------
    VersionConflict
        Somebody else gave a model of an object store a new version meanwhile.
    """
    files, found = opened(place), []
    for model in models(files):
        folder = f"models/{model}"
        newest = _newest(files, folder)
        if any(one.file.endswith(f"/{HEAD}") or one.version == newest for one in of_model(files, folder)):
            with files.alone(folder):
                found.append(_mend(files, folder, dry=dry))
    return found


def _newest(files: Files, folder: str) -> int:
    """Give the number of the newest version: what the head says, or the files' names."""
    try:
        return Manifest.from_bytes(files.read(f"{folder}/{HEAD}")).version
    except (OSError, ValueError):
        return max(numbers(files, folder), default=0)


def _mend(files: Files, folder: str, *, dry: bool) -> Repaired:
    lost: Manifest | None = None
    last = max([_newest(files, folder), *numbers(files, folder)])
    for name in [f"{folder}/{HEAD}", *(kept(folder, number) for number in reversed(numbers(files, folder)))]:
        try:
            content = files.read(name)
            manifest = Manifest.from_bytes(content)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            if not dry and not name.endswith(f"/{HEAD}"):
                files.write(f"{folder}/{ASIDE}/{Path(name).stem}-{new_id()}.json", files.read(name))
                files.remove(name)
            continue
        lost = lost or manifest
        if not any(of_version(files, folder, manifest)):
            if not dry:
                _publish(files, folder, manifest, last + 1)
            return Repaired(manifest.model_id, last + 1, manifest.version, lost.n_dates - manifest.n_dates)
    return Repaired(named(Path(folder).name), None, None, None)


def _publish(files: Files, folder: str, good: Manifest, number: int) -> None:
    """Make a version of a good one's content; checkpoints that are damaged are left out, corrections do without."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    checkpoints = tuple(one for one in good.checkpoints if not any(of_checkpoint(files, folder, one)))
    made = replace(
        good, version=number, request_id=new_id(), operation="repair", created_at=now, since=number,
        checkpoints=checkpoints,
    ).remembering(good)  # fmt: skip
    for name in (kept(folder, number), f"{folder}/{HEAD}"):
        files.write(name, made.to_bytes())
