"""What is wrong in a store: torn, missing and unreadable files, found without changing anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import orjson

from contracts.errors import InvalidInput
from contracts.events import untoken
from store.manifest import Manifest
from store.parts import Part

Kind = Literal["missing", "torn", "unreadable", "strange"]
HEAD = "manifest.json"


class Damage(NamedTuple):
    """One thing that is wrong.

    Parameters
    ----------
    kind
        `missing` and `torn` of a part, `unreadable` of a manifest or document, `strange` of content that does not fit.
    value
        The model or portfolio.
    version
        The version that needs it; 0 for the newest of a value whose head cannot be read.
    file
        Below the store's folder.
    detail
        What was expected, and what was found.
    """

    kind: Kind
    value: str
    version: int
    file: str
    detail: str


def check(root: Path) -> Iterator[Damage]:
    """Look at every kept version of every model, and at every portfolio.

    Files are held against their manifest's sizes, and each block's dates against what the manifest says of them.
    Contents have no checksum: a bit that turned in the middle of an array is not found.
    """
    for folder in folders(root / "models"):
        yield from of_model(root, folder)
    for folder in folders(root / "portfolios"):
        for path in (folder / "head.json", *sorted((folder / "versions").glob("*.json"))):
            yield from _of_document(root, path)


def folders(room: Path) -> Iterator[Path]:
    """Give the folders of a kind of values, in order."""
    if room.is_dir():
        yield from sorted(path for path in room.iterdir() if path.is_dir())


def named(folder: Path) -> str:
    """Give the name of the value that a folder holds."""
    try:
        return untoken(folder.name)
    except InvalidInput:
        return folder.name


def of_model(root: Path, folder: Path) -> Iterator[Damage]:
    """Look at one model's folder."""
    seen: dict[str, list[tuple[Kind, str]]] = {}
    for path in (folder / HEAD, *sorted((folder / "versions").glob("[0-9]*.json"))):
        try:
            manifest = Manifest.from_bytes(path.read_bytes())
        except (OSError, ValueError) as error:
            number = int(path.stem) if path.stem.isdigit() else 0
            yield Damage("unreadable", named(folder), number, str(path.relative_to(root)), str(error))
            continue
        if path.name != HEAD:
            yield from of_version(root, folder, manifest, seen)


def of_version(
    root: Path, folder: Path, manifest: Manifest, seen: dict[str, list[tuple[Kind, str]]] | None = None
) -> Iterator[Damage]:
    """Look at the parts of one version; `seen` keeps what was found of parts that versions share."""
    seen = {} if seen is None else seen
    parts = [(block.part, (block.first_date, block.last_date, block.n_dates)) for block in manifest.blocks]
    for part, days in [*parts, *([(manifest.latest, None)] if manifest.latest else [])]:
        if part.file not in seen:
            seen[part.file] = list(_of_part(folder / "parts", part, days))
        for kind, detail in seen[part.file]:
            where = str((folder / "parts" / part.file).relative_to(root))
            yield Damage(kind, manifest.model_id, manifest.version, where, detail)


def _of_part(folder: Path, part: Part, days: tuple[str, str, int] | None) -> Iterator[tuple[Kind, str]]:
    path = folder / part.file
    try:
        size = path.stat().st_size
    except OSError as error:
        yield "missing", error.strerror or str(error)
        return
    if size != part.size:
        yield "torn", f"{size} bytes of {part.size}"
        return
    for name, ref in part.arrays.items():
        end = ref.offset + np.dtype(ref.dtype).itemsize * math.prod(ref.shape)
        if end > size:
            yield "strange", f"{name} ends at {end} of {size} bytes"
            return
    if days is not None:
        ref = part.arrays["dates"]
        # Not the maps of this process, which may be of an earlier file of that name.
        dates = np.fromfile(path, np.dtype(ref.dtype), math.prod(ref.shape), offset=ref.offset)
        found = (str(dates[0]), str(dates[-1]), len(dates)) if len(dates) else ("", "", 0)
        if found != days or (dates[1:] <= dates[:-1]).any():
            yield "strange", f"days {found[0]} to {found[1]} ({found[2]}), where the manifest has {days}"


def _of_document(root: Path, path: Path) -> Iterator[Damage]:
    try:
        value = orjson.loads(path.read_bytes())
        if not isinstance(value, dict) or "format" not in value:
            raise ValueError("it is no document of this store")
    except (OSError, ValueError) as error:
        folder = path.parent if path.name == "head.json" else path.parent.parent
        number = int(path.stem) if path.stem.isdigit() else 0
        yield Damage("unreadable", named(folder), number, str(path.relative_to(root)), str(error))
