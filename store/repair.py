"""A damaged model made whole again from its newest version that is: as a new version, and nothing is thrown away."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from contracts.files import replacing
from contracts.work import new_id
from store.damage import HEAD, folders, named, of_model, of_version
from store.lock import locked
from store.manifest import Manifest
from store.parts import sync_folder

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


def repair(root: Path, *, dry: bool = False) -> list[Repaired]:
    """Give every model whose newest version is damaged a new version: the content of its newest whole one.

    The number goes on, so that nothing that was published under a damaged version's number means something else.
    Manifests that cannot be read are put into `damaged/` of the model's folder. Portfolios and watches are documents of
    their own: `check` names those that cannot be read, and a copy brings them back.
    """
    found = []
    for folder in folders(root / "models"):
        if any(damage.file.endswith(HEAD) or damage.version == _newest(folder) for damage in of_model(root, folder)):
            with locked(folder):
                found.append(_mend(root, folder, dry=dry))
    return found


def _newest(folder: Path) -> int:
    """Give the number of the newest version: what the head says, or the files' names."""
    try:
        return Manifest.from_bytes((folder / HEAD).read_bytes()).version
    except (OSError, ValueError):
        return max((int(path.stem) for path in (folder / "versions").glob("[0-9]*.json")), default=0)


def _mend(root: Path, folder: Path, *, dry: bool) -> Repaired:
    paths = sorted((folder / "versions").glob("[0-9]*.json"), reverse=True)
    lost: Manifest | None = None
    for path in paths:
        try:
            manifest = Manifest.from_bytes(path.read_bytes())
        except (OSError, ValueError):
            if not dry:
                _aside(folder, path)
            continue
        lost = lost or manifest
        if not any(of_version(root, folder, manifest)):
            number = max(_newest(folder), int(paths[0].stem)) + 1
            if not dry:
                _publish(folder, manifest, number)
            return Repaired(manifest.model_id, number, manifest.version, lost.n_dates - manifest.n_dates)
    return Repaired(named(folder), None, None, None)


def _aside(folder: Path, path: Path) -> None:
    (folder / ASIDE).mkdir(exist_ok=True, mode=0o700)
    path.rename(folder / ASIDE / f"{path.stem}-{new_id()}.json")


def _publish(folder: Path, whole: Manifest, number: int) -> None:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = replace(
        whole, version=number, request_id=new_id(), operation="repair", created_at=now, since=number
    ).remembering(whole)
    for path in (folder / "versions" / f"{number:08d}.json", folder / HEAD):
        with replacing(path, durable=True) as out:
            out.write(made.to_bytes())
    sync_folder(folder / "versions")
    sync_folder(folder)
