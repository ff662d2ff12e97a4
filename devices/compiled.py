"""Compiled Core ML models, kept on disk: compiling one for the Neural Engine takes seconds, loading it again does not.

An entry is a folder named by everything that the compiled model depends on, so a change makes a new one and the old one
is never asked for again. It is put in place whole by a rename. Beside the model lie the hashes of its files: an entry
that does not match them is dropped and made anew, since Core ML may end the process over a file that is cut short. A
lock on each folder says that a process uses it, and goes with the process, however that ends. Nothing here is needed
for an answer: whatever fails, the caller compiles for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contracts.work import new_id
from devices.detect import chip

_log = logging.getLogger(__name__)

KEPT = 256
"""Entries of a folder. A process holds 32 at most (`neural_engine.PROGRAMS_KEPT`); those in use are never dropped."""
KEPT_BYTES = 1 << 30
MODEL = "model.mlmodelc"
HASHES = "hashes.json"
OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}\.tmp")


def key(*parts: bytes) -> str:
    """Name an entry by this machine's chip and system, the version of coremltools, and what defines the program."""
    import coremltools as ct

    digest = hashlib.sha256()
    for part in (chip().encode(), ct.__version__.encode(), *parts):
        digest.update(len(part).to_bytes(8, "big"))  # so that no two lists of parts read the same
        digest.update(part)
    return digest.hexdigest()[:32]


def load(folder: Path, name: str, save: Callable[[str], None]) -> Any | None:
    """Load an entry, and make it first where there is none that is whole.

    The model is compiled into the folder and loaded from there, also the first time: Core ML keeps what it specialised
    for the chip by the path of the model.

    Parameters
    ----------
    folder
        Where the entries lie; made where it is missing.
    name
        The entry, by `key`.
    save
        Writes the program as a package to the path that it is given; called only where the entry has to be made.

    Returns
    -------
    coremltools.models.CompiledMLModel or None
        None where the folder or Core ML did not let it be made or loaded; why is logged.
    """
    entry = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model = _loaded(entry)
        if model is None:
            _make(entry, save)
            model = _loaded(entry)
            _drop_surplus(folder)
    except Exception as error:  # noqa: BLE001  a cache that cannot be used costs time, and nothing else
        _log.warning("a compiled model is not kept: %s: %s", type(error).__name__, error)
        return None
    return model


def _loaded(entry: Path) -> Any | None:
    import coremltools as ct

    if not os.path.lexists(entry):
        return None
    held: int | None = None
    try:
        held = _locked(entry, fcntl.LOCK_SH)
        if json.loads((entry / HASHES).read_text()) != _hashes(entry / MODEL):
            raise ValueError("its files are not those that were written")
        model = ct.models.CompiledMLModel(str(entry / MODEL), compute_units=ct.ComputeUnit.CPU_AND_NE)
    except Exception as error:  # noqa: BLE001  made anew, whatever is wrong with it
        _log.warning("the compiled model %s is made anew: %s: %s", entry.name, type(error).__name__, error)
        if held is not None:
            os.close(held)
        _drop(entry)
        return None
    weakref.finalize(model, os.close, held)
    with contextlib.suppress(OSError):
        os.utime(entry)  # what was used last is dropped last
    return model


def _make(entry: Path, save: Callable[[str], None]) -> None:
    from coremltools.models.utils import compile_model

    fresh = _beside(entry)
    fresh.mkdir()
    held = _locked(fresh, fcntl.LOCK_SH)
    try:
        with tempfile.TemporaryDirectory() as made:
            package = f"{made}/program.mlpackage"
            save(package)
            compile_model(package, str(fresh / MODEL))
        (fresh / HASHES).write_text(json.dumps(_hashes(fresh / MODEL)))
        try:
            fresh.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise  # else another process was first, and its entry is as good
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        os.close(held)


def _drop_surplus(folder: Path) -> None:
    """Drop what was not used for the longest time, beyond the bounds, and what a killed process left half made."""
    aged = []
    for path in folder.iterdir():
        if OURS.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # another process dropped it meanwhile
                aged.append((path.name.startswith("."), -path.stat().st_mtime, path))
    count = size = 0
    for half_made, _, path in sorted(aged):
        if not half_made:
            count, size = count + 1, size + sum(file.stat().st_size for file in _files(path))
        if half_made or count > KEPT or size > KEPT_BYTES:
            _drop(path)


def _drop(path: Path) -> None:
    """Take an entry away unless a process uses it, by a rename first, so that nobody finds half of it."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another process was first, or uses it
        held = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            aside = _beside(path)
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            os.close(held)


def _beside(entry: Path) -> Path:
    return entry.with_name(f".{new_id()}.tmp")


def _locked(folder: Path, how: int) -> int:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, how)
    except OSError:
        os.close(held)
        raise
    return held


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _hashes(model: Path) -> dict[str, str]:
    """Give the hash of every file of a model by its path within."""
    if not model.is_dir():
        raise FileNotFoundError(f"{model.name} is missing")
    return {
        path.relative_to(model).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(_files(model))
    }
