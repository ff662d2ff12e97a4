"""A store copied while it is used: backup, restore and move are the same, between folders and object stores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from contracts.errors import InvalidInput
from store.damage import HEAD, kept, models, named, numbers
from store.files import Files, opened
from store.manifest import Manifest
from store.poll import is_head

ATTEMPTS = 3
SMALL = ("portfolios", "watches", "markets", "estimators", "formulas.json")
"""What is copied beside the models."""


class Copied(NamedTuple):
    """What a copy did.

    Parameters
    ----------
    values, versions
        Models, books and so on, and the versions of models.
    files, size
        Files that were written, and their bytes.
    kept
        Files that were there already.
    damaged
        Models whose newest version is not whole, and why: of them the target has what it had before.
    """

    values: int
    versions: int
    files: int
    kept: int
    size: int
    damaged: dict[str, str]


class _Count:
    def __init__(self) -> None:
        self.values = self.versions = self.files = self.kept = self.size = 0
        self.damaged: dict[str, str] = {}


def copy(source: Files | Path, target: Files | Path, say: Callable[[str], None] = lambda _: None) -> Copied:
    """Copy every kept version of every value; what the target has already is not written again.

    Parts never change, so a copy may be made beside a running engine, and again: it is then as new as the moment at
    which each value's head was read. Parts are durable before a manifest that names them, and the head comes last, so
    a copy that was cut off has only whole versions. A damaged model holds up no other.

    Raises
    ------
    InvalidInput
        There is no store at `source`, or both are one.
    VersionConflict
        Somebody else changed the target meanwhile.
    """
    source, target = opened(source), opened(target)
    if not source.exists():
        raise InvalidInput(f"there is no store at {source.name}", field="source")
    if target.name == source.name:
        raise InvalidInput("source and target are one store", field="target")
    count = _Count()
    for model in models(source):
        try:
            _follow(f"models/{model}", source, target, count)
        except (FileNotFoundError, ValueError) as error:
            count.damaged[named(model)] = str(error)
        else:
            say(model)
    for room in SMALL:
        for name in sorted(source.sizes(room), key=lambda name: (is_head(name), name)):
            with contextlib.suppress(FileNotFoundError):
                _small(name, source, target, count)
        count.values += len(source.values(room))
    return Copied(count.values, count.versions, count.files, count.kept, count.size, count.damaged)


def _small(name: str, source: Files, target: Files, count: _Count) -> None:
    content = source.read(name)
    with contextlib.suppress(FileNotFoundError):
        if target.read(name) == content:
            count.kept += 1
            return
    target.write(name, content)
    count.files += 1
    count.size += len(content)


def _follow(folder: str, source: Files, target: Files, count: _Count) -> None:
    """Copy a model whose newest version may be retired by others meanwhile: again, and at last while they wait."""
    count.values += 1
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            _model(folder, source, target, count)
            return
    with source.alone(folder):
        _model(folder, source, target, count)


def _model(folder: str, source: Files, target: Files, count: _Count) -> None:
    """Copy a model; older versions that are retired while it goes on, or are damaged, are left out.

    Raises
    ------
    FileNotFoundError
        The newest version has a part that is missing or torn: it was retired, or is damaged.
    ValueError
        Its manifest cannot be read.
    """
    head = source.read(f"{folder}/{HEAD}")
    newest = Manifest.from_bytes(head).version
    there = target.sizes(f"{folder}/parts")
    sizes = source.sizes(f"{folder}/parts")
    for name, size in Manifest.from_bytes(head).sizes.items():
        _whole(f"{folder}/parts/{name}", size, sizes, there)  # before anything of it is written
    for number in sorted({*numbers(source, folder), newest}):
        if number > newest:
            continue  # of a commit that came meanwhile, or was cut off
        try:
            content = head if number == newest else source.read(kept(folder, number))
            for name, size in sorted(Manifest.from_bytes(content).sizes.items()):
                _part(f"{folder}/parts/{name}", size, source, target, sizes, there, count)
        except (FileNotFoundError, ValueError):
            if number == newest:
                raise
            continue
        target.write(kept(folder, number), content)
        count.versions += 1
    with contextlib.suppress(FileNotFoundError):
        target.read(f"{folder}/{HEAD}")
    target.write(f"{folder}/{HEAD}", head)


def _part(
    name: str, size: int, source: Files, target: Files, sizes: dict[str, int], there: dict[str, int], count: _Count
) -> None:
    """Copy a part whole, or not at all; a torn one takes the place of no whole one."""
    if there.get(name) == size:
        count.kept += 1
        return
    _whole(name, size, sizes, there)
    there[name] = target.put(name, source)
    count.files += 1
    count.size += there[name]


def _whole(name: str, size: int, sizes: dict[str, int], there: dict[str, int]) -> None:
    """Raise `FileNotFoundError` unless the target has a part, or the source has it whole."""
    if there.get(name) != size and sizes.get(name) != size:
        found = f"is torn: {sizes[name]} bytes of {size}" if name in sizes else "is missing"
        raise FileNotFoundError(f"{name} {found}")
