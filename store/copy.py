"""A store copied while it is used: backup, restore and move are the same."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from contracts.errors import InvalidInput
from contracts.files import replacing
from store.damage import HEAD, folders
from store.lock import locked
from store.manifest import Manifest
from store.parts import sync_folder

ATTEMPTS = 3


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


def copy(source: Path, target: Path, say: Callable[[str], None] = lambda _: None) -> Copied:
    """Copy every kept version of every value; what the target has already is not written again.

    Parts never change, so a copy may be made beside a running engine, and again: it is then as new as the moment at
    which each value's head was read. Parts are durable before a manifest that names them, and the head comes last, so
    a copy that was cut off has only whole versions.

    Raises
    ------
    InvalidInput
        There is no store at `source`, or both are one.
    """
    if not (source / "models").is_dir() and not (source / "portfolios").is_dir():
        raise InvalidInput(f"there is no store at {source}", field="source")
    if target.resolve() == source.resolve():
        raise InvalidInput("source and target are one folder", field="target")
    count = _Count()
    for folder in folders(source / "models"):
        _follow(folder, target / "models" / folder.name, count)
        say(folder.name)
    for room in ("portfolios", "watches"):
        for path in sorted((source / room).rglob("*.json"), key=lambda path: (path.name == "head.json", path)):
            _file(path, target / room / path.relative_to(source / room), count, always=True)
        count.values += len(list(folders(source / room)))
    return Copied(count.values, count.versions, count.files, count.kept, count.size)


def _follow(source: Path, target: Path, count: _Count) -> None:
    """Copy a model whose newest version may be retired by others meanwhile: again, and at last while they wait."""
    count.values += 1
    for _ in range(ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            _model(source, target, count)
            return
    with locked(source):
        _model(source, target, count)


def _model(source: Path, target: Path, count: _Count) -> None:
    """Copy a model; older versions that are retired while it goes on, or lack a part, are left out.

    Raises
    ------
    FileNotFoundError
        The newest version lacks a part: it was retired, or is damaged.
    """
    head = (source / HEAD).read_bytes()
    newest = Manifest.from_bytes(head).version
    (target / "parts").mkdir(parents=True, exist_ok=True, mode=0o700)
    (target / "versions").mkdir(exist_ok=True, mode=0o700)
    for path in sorted((source / "versions").glob("[0-9]*.json")):
        if int(path.stem) > newest:
            continue  # of a commit that came meanwhile, or was cut off
        try:
            content = path.read_bytes()
            for name in sorted(Manifest.from_bytes(content).files):
                _file(source / "parts" / name, target / "parts" / name, count)
        except FileNotFoundError:
            if int(path.stem) == newest:
                raise
            continue
        sync_folder(target / "parts")
        _put(target / "versions" / path.name, content)
        count.versions += 1
    sync_folder(target / "versions")
    _put(target / HEAD, head)
    sync_folder(target)


def _file(source: Path, target: Path, count: _Count, *, always: bool = False) -> None:
    """Copy a file whole, or not at all."""
    size = source.stat().st_size
    if not always and target.exists() and target.stat().st_size == size:
        count.kept += 1
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with source.open("rb") as read, replacing(target, durable=True) as out:
        shutil.copyfileobj(read, out, 1 << 20)
        os.fchmod(out.fileno(), 0o600)
    count.files += 1
    count.size += size


def _put(path: Path, content: bytes) -> None:
    with replacing(path, durable=True) as out:
        out.write(content)
