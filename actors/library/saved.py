"""Live libraries on disk: written while no day comes, so that neither the lock nor the disk is in a bar's way."""

from __future__ import annotations

import logging
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from actors.library.formulas import Formulas
from actors.library.live_library import LiveLibrary, MovedOn
from actors.runtime.memory import give_back
from contracts.events import token
from contracts.files import replacing
from factors.library.run.members import Member

QUIET_S = 10.0
"""A state is written when no day came for so long. While days follow each other faster, as in a replay, none is: it
would be out of date when it is whole."""
SYNC_BYTES = 4 * 2**20
"""So much goes to the disk at once. Other files' syncs, those of a bar that comes, wait for what is written before."""

_log = logging.getLogger(__name__)


class SavedLibraries:
    """Writes the states of live libraries, and reads them.

    Parameters
    ----------
    folder : Path
        A file ``<model>.npz`` each.
    kept : int
        So many are kept; the one written longest ago goes.
    submit : callable
        Runs work in the background, one at a time.
    """

    def __init__(self, folder: Path, kept: int, submit: Callable[[Callable[[], None]], object]) -> None:
        self._folder = folder
        self._kept = kept
        self._submit = submit
        self._lock = threading.Lock()
        self._due: dict[str, tuple[float, LiveLibrary]] = {}
        self._timer: threading.Timer | None = None
        self._rings = 0.0

    def soon(self, model_id: str, live: LiveLibrary, after_s: float | None = None) -> None:
        """Write the state of a model when nothing came for so long; by default for `QUIET_S`."""
        with self._lock:
            self._due[model_id] = time.monotonic() + (QUIET_S if after_s is None else after_s), live
            self._wind()

    def _wind(self) -> None:
        """See to it that the timer rings when the first is due; one that rings before that winds it again."""
        if not self._due:
            return
        first = min(due for due, _ in self._due.values())
        if self._timer is not None:
            if self._rings <= first:
                return
            self._timer.cancel()
        self._timer, self._rings = threading.Timer(max(first - time.monotonic(), 0.0), self._ring), first
        self._timer.daemon = True
        self._timer.start()

    def _ring(self) -> None:
        """Hand on what is due; what was put off meanwhile is due later."""
        with self._lock:
            self._timer = None
            now = time.monotonic()
            for model_id in [name for name, (due, _) in self._due.items() if due <= now]:
                _, live = self._due.pop(model_id)
                try:
                    self._submit(partial(self._write, model_id, live))
                except RuntimeError:  # the process ends; the state on disk is an older one, and is a cache
                    self._due.clear()
                    return
            self._wind()

    def _write(self, model_id: str, live: LiveLibrary) -> None:
        path = self.path(model_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, durable=True) as out:
                write_members(out, live.members())
            for old in self.files()[self._kept :]:
                old.unlink(missing_ok=True)
        except MovedOn:
            self.soon(model_id, live)
        except OSError as error:  # a full disk costs the next start its head start, nothing else
            _log.warning("the library of %s could not be saved: %s", model_id, error)
        finally:
            give_back()

    def path(self, model_id: str) -> Path:
        """Where a model's state is."""
        return self._folder / f"{token(model_id)}.npz"

    def files(self) -> list[Path]:
        """List the saved states, the newest first."""
        found: list[tuple[float, Path]] = []
        for path in self._folder.glob("*.npz"):
            try:
                found.append((path.stat().st_mtime, path))
            except FileNotFoundError:  # another actor's clean-up
                continue
        return [path for _, path in sorted(found, reverse=True)]


def write_members(out: BinaryIO, members: Iterable[tuple[str, Member]]) -> None:
    """Write arrays into an ``.npz`` file piece by piece, and each few megabytes through to the disk."""
    sync = getattr(os, "fdatasync", os.fsync)
    written = 0
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name, member in members:
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                described = {"descr": npy.dtype_to_descr(member.dtype), "fortran_order": False, "shape": member.shape}
                npy.write_array_header_1_0(entry, described)
                for piece in member.pieces:
                    entry.write(piece.tobytes())
                    written += piece.nbytes
                    if written >= SYNC_BYTES:
                        written = 0
                        out.flush()
                        sync(out.fileno())


def read_saved(path: Path, formulas: Formulas) -> Mapping[str, Any] | None:
    """Read a saved state of these very formulas; None where there is none that can be read."""
    try:
        # numpy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as opened, np.load(opened) as file:
            if str(file["digest"]) != formulas.digest:
                return None
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("the saved library %s cannot be read: %s", path.name, error)
        return None
