"""A store copied while it is used: backup, restore and move are the same, between folders and object stores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from contracts.errors import InvalidInput
from store.damage import HEAD, kept, numbers
from store.files import Files, opened
from store.manifest import Manifest
from store.poll import is_head

ATTEMPTS = 3
SMALL = ("portfolios", "watches", "markets", "estimators", "formulas.json")
"""What is copied beside the models."""


class Copied(NamedTuple):
    """What a copy did: values, their versions, files written, files that were there already, and bytes."""

    values: int
    versions: int
    files: int
    kept: int
    size: int


class _Count:
    def __init__(self) -> None:
        self.values = self.versions = self.files = self.kept = self.size = 0


def copy(source: Files | Path, target: Files | Path, say: Callable[[str], None] = lambda _: None) -> Copied:
    """Copy every kept version of every value; what the target has already is not written again.

    Parts never change, so a copy may be made beside a running engine, and again: it is then as new as the moment at
    which each value's head was read. Parts are durable before a manifest that names them, and the head comes last, so
    a copy that was cut off has only whole versions.

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
    for model in source.values("models"):
        _follow(f"models/{model}", source, target, count)
        say(model)
    for room in SMALL:
        for name in sorted(source.sizes(room), key=lambda name: (is_head(name), name)):
            with contextlib.suppress(FileNotFoundError):
                _small(name, source, target, count)
        count.values += len(source.values(room))
    return Copied(count.values, count.versions, count.files, count.kept, count.size)


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
    """Copy a model; older versions that are retired while it goes on, or lack a part, are left out.

    Raises
    ------
    FileNotFoundError
        The newest version lacks a part: it was retired, or is damaged.
    """
    head = source.read(f"{folder}/{HEAD}")
    newest = Manifest.from_bytes(head).version
    there = target.sizes(f"{folder}/parts")
    sizes = source.sizes(f"{folder}/parts")
    for number in sorted({*numbers(source, folder), newest}):
        if number > newest:
            continue  # of a commit that came meanwhile, or was cut off
        try:
            content = head if number == newest else source.read(kept(folder, number))
            for name in sorted(Manifest.from_bytes(content).files):
                _part(f"{folder}/parts/{name}", source, target, sizes, there, count)
        except FileNotFoundError:
            if number == newest:
                raise
            continue
        target.write(kept(folder, number), content)
        count.versions += 1
    with contextlib.suppress(FileNotFoundError):
        target.read(f"{folder}/{HEAD}")
    target.write(f"{folder}/{HEAD}", head)


def _part(name: str, source: Files, target: Files, sizes: dict[str, int], there: dict[str, int], count: _Count) -> None:
    """Copy a part whole, or not at all."""
    if name not in sizes:
        raise FileNotFoundError(2, "No such file or directory", name)
    if there.get(name) == sizes[name]:
        count.kept += 1
        return
    there[name] = target.put(name, source)
    count.files += 1
    count.size += there[name]
