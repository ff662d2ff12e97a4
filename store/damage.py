"""What is wrong in a store: torn, missing and unreadable files, found without changing anything."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import orjson

from contracts.errors import InvalidInput
from contracts.events import untoken
from store import checkpoints
from store.checkpoints import Checkpoint
from store.files import Files, opened
from store.manifest import Manifest
from store.parts import Part
from store.poll import is_head

Kind = Literal["missing", "torn", "unreadable", "strange"]
HEAD = "manifest.json"
FORMULAS = "formulas.json"
Days = tuple[str, str, int]
"""First and last date of a part's days, and how many they are."""


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


def check(place: Files | Path) -> Iterator[Damage]:
    """Look at every kept version of every model, at every portfolio, and at what else is a document.

    Files are held against their manifest's sizes, and each block's dates against what the manifest says of them.
    Contents have no checksum, but for checkpoints: a bit that turned in the middle of an array is not found. Raises
    `Unavailable` where an object store cannot be reached.
    """
    files = opened(place)
    for model in models(files):
        yield from of_model(files, f"models/{model}")
    for book in files.values("portfolios"):
        for name in (f"portfolios/{book}/head.json", *sorted(files.sizes(f"portfolios/{book}/versions"))):
            yield from _of_document(files, name, named(book))
    for room in ("watches", "markets", "estimators"):
        sizes = files.sizes(room)
        for name in sizes:
            if is_head(name):
                yield from _of_document(files, name, named(Path(name).stem))
                if room == "estimators":
                    yield from _of_estimator(files, name, sizes)
    if files.sizes(FORMULAS):
        yield from _of_document(files, FORMULAS, "registered formulas", ())


def models(files: Files) -> list[str]:
    """Name the folders of models; one without a head and versions is of a first commit that was cut off."""
    return [
        name
        for name in files.values("models")
        if files.sizes(f"models/{name}/{HEAD}") or numbers(files, f"models/{name}")
    ]


def named(folder: str) -> str:
    """Give the name of the value that a folder holds."""
    try:
        return untoken(folder)
    except InvalidInput:
        return folder


def numbers(files: Files, folder: str) -> list[int]:
    """Numbers of a value's kept versions, by the names of their files."""
    names = [Path(name).name for name in files.sizes(f"{folder}/versions")]
    return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())


def kept(folder: str, number: int) -> str:
    """Name the file of an older version."""
    return f"{folder}/versions/{number:08d}.json"


def of_model(files: Files, folder: str) -> Iterator[Damage]:
    """Look at one model's folder."""
    seen: dict[str, list[tuple[Kind, str]]] = {}
    sizes = files.sizes(f"{folder}/parts")
    found: dict[int, Manifest] = {}
    for name, number in [(f"{folder}/{HEAD}", 0), *((kept(folder, each), each) for each in numbers(files, folder))]:
        try:
            manifest = Manifest.from_bytes(files.read(name))
        except (OSError, ValueError) as error:
            yield Damage("unreadable", named(Path(folder).name), number, name, _why(error))
            continue
        found[manifest.version] = manifest
    for manifest in found.values():
        yield from of_version(files, folder, manifest, sizes, seen)
        yield from _of_checkpoints(files, folder, manifest, seen)


def of_version(
    files: Files,
    folder: str,
    manifest: Manifest,
    sizes: dict[str, int] | None = None,
    seen: dict[str, list[tuple[Kind, str]]] | None = None,
) -> Iterator[Damage]:
    """Look at the parts of one version; `seen` keeps what was found of parts that versions share."""
    sizes = files.sizes(f"{folder}/parts") if sizes is None else sizes
    seen = {} if seen is None else seen
    parts = [(block.part, (block.first_date, block.last_date, block.n_dates)) for block in manifest.blocks]
    for part, days in [*parts, *([(manifest.latest, None)] if manifest.latest else [])]:
        name = f"{folder}/parts/{part.file}"
        key = part.file if days is None else f"{part.file}:{days[2]}"
        if key not in seen:
            seen[key] = list(_of_part(files, name, sizes.get(name), part, days))
        for kind, detail in seen[key]:
            yield Damage(kind, manifest.model_id, manifest.version, name, detail)


def _of_checkpoints(
    files: Files, folder: str, manifest: Manifest, seen: dict[str, list[tuple[Kind, str]]]
) -> Iterator[Damage]:
    for one in manifest.checkpoints:
        if one.file not in seen:
            seen[one.file] = list(of_checkpoint(files, folder, one))
        for kind, detail in seen[one.file]:
            yield Damage(kind, manifest.model_id, manifest.version, f"{folder}/parts/{one.file}", detail)


def of_checkpoint(files: Files, folder: str, checkpoint: Checkpoint) -> Iterator[tuple[Kind, str]]:
    """Look at a checkpoint of a model's folder, whose arrays have checksums."""
    try:
        checkpoints.decoded(files.read(f"{folder}/parts/{checkpoint.file}"), checkpoint)
    except OSError as error:
        yield "missing", error.strerror or str(error)
    except ValueError as error:
        yield "torn", str(error)


def _of_part(files: Files, name: str, size: int | None, part: Part, days: Days | None) -> Iterator[tuple[Kind, str]]:
    if size is None:
        yield "missing", "No such file or directory"
        return
    if size != part.size:
        yield "torn", f"{size} bytes of {part.size}"
        return
    for array, ref in part.arrays.items():
        end = ref.offset + np.dtype(ref.dtype).itemsize * math.prod(ref.shape)
        if end > size:
            yield "strange", f"{array} ends at {end} of {size} bytes"
            return
    if days is not None:
        ref = part.arrays["dates"]
        dtype = np.dtype(ref.dtype)
        # Not the maps of this process, which may be of an earlier file of that name.
        n_days = min(days[2], math.prod(ref.shape))  # behind them may be days that were replaced
        dates = np.frombuffer(files.read(name, ref.offset, dtype.itemsize * n_days), dtype)
        found = (str(dates[0]), str(dates[-1]), len(dates)) if len(dates) else ("", "", 0)
        if found != days or (dates[1:] <= dates[:-1]).any():
            yield "strange", f"days {found[0]} to {found[1]} ({found[2]}), where the manifest has {days}"


def _of_document(files: Files, name: str, value: str, keys: tuple[str, ...] = ("format",)) -> Iterator[Damage]:
    try:
        content = orjson.loads(files.read(name))
        if not isinstance(content, dict) or not content.keys() >= set(keys):
            raise ValueError("it is no document of this store")
    except (OSError, ValueError) as error:
        number = Path(name).stem
        yield Damage("unreadable", value, int(number) if number.isdigit() else 0, name, _why(error))


def _of_estimator(files: Files, name: str, sizes: dict[str, int]) -> Iterator[Damage]:
    """Look at the files that an estimator's document names, which it has hashes of."""
    try:
        value = orjson.loads(files.read(name))
        stem, version = name.removesuffix(".json"), int(value["version"])
        needed = {f"{stem}.{value['sha256'][:16]}.{value.get('form', 'skops')}": value["sha256"]}
        if value.get("network"):
            needed[f"{stem}.{value['network'][:16]}.network"] = value["network"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # the document itself is named
    for file, sha256 in needed.items():
        if file not in sizes:
            yield Damage("missing", named(Path(stem).name), version, file, "No such file or directory")
        elif (found := hashlib.sha256(files.read(file)).hexdigest()) != sha256:
            yield Damage("torn", named(Path(stem).name), version, file, f"its hash is {found[:16]}, not {sha256[:16]}")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
