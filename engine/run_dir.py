"""The run directory: one engine at a time holds it; it keeps the secrets, the records and the market of a run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.files import replacing
from engine.errors import StartError
from engine.processes import ProcessRecord, end, marked

KEPT_SESSIONS = 2
"""Ray sessions (logs) kept in the run's temporary folder, the newest included."""
REMEMBER_S = 3.0


class AlreadyRunningError(StartError):
    """Another engine holds the run directory."""


def is_held(path: Path) -> bool:
    """Say whether a foreground run holds the run directory; it then owns nats-server, and nobody else starts one."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def starting(path: Path) -> Iterator[None]:
    """Hold the right to start things in this run directory, so that two processes do not start two servers."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path / "starting.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def noted(path: Path) -> dict[str, Any]:
    """Give what the engine that runs in a run directory noted of itself: where it listens, its process, its Ray."""
    try:
        found = json.loads((path / "running.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def token_of(path: Path) -> Path:
    """Give the file in which a run directory has Ray's token, absolute, be it there or not."""
    return path.resolve() / "ray" / "token"


def made_token(path: Path) -> Path:
    """Give the file with Ray's token, made (0600) when missing."""
    token = token_of(path)
    if not token.exists():
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(token, private=True) as out:
            out.write(secrets.token_hex(32).encode())
    return token


class RunDir:
    """A run directory that this process holds.

    Parameters
    ----------
    path
        Made when missing, readable by its owner only.

    Raises
    ------
    AlreadyRunningError
        Another process holds it; says which, and where it listens.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.record = ProcessRecord(self.path / "processes.json")
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self.info()
            os.close(self._lock)
            where = f" at {holder['http']}" if "http" in holder else ""
            pid = holder.get("pid", "unknown")
            raise AlreadyRunningError(
                f"the engine already runs here{where} (pid {pid}, run directory {self.path}); "
                "stop it with Ctrl-C there, or set FACTOR_ENGINE_RUN_DIR and FACTOR_ENGINE_HTTP_PORT for a second one"
            ) from None

    def info(self) -> dict[str, Any]:
        """Give what the holder noted of itself."""
        return noted(self.path)

    def note(self, **facts: Any) -> None:
        """Note where this run listens, for a second start and for tools; a full disk only makes them know less."""
        with contextlib.suppress(OSError), replacing(self.path / "running.json") as out:
            out.write(json.dumps({"pid": os.getpid(), "started": time.time(), **facts}, indent=2).encode())

    def sweep(self) -> list[str]:
        """End what a killed run left and remove its half-finished uploads; gives the names of the processes ended."""
        left = end({*self.record.read(), *marked(self.path)}, REMEMBER_S)
        with contextlib.suppress(OSError):
            self.record.clear()
        shutil.rmtree(self.path / "uploads", ignore_errors=True)
        return sorted({row.name for row in left})

    def token_path(self) -> Path:
        """Give the file with Ray's token, made (0600) when missing."""
        return made_token(self.path)

    def short_temp(self) -> Path:
        """Give a folder for sockets, made when missing, 0700; the same for the same run directory.

        It is not in the run directory, because a socket's whole path has 97 characters at most, HAProxy's with a node
        id of 56 in it.
        """
        digest = hashlib.blake2b(f"{os.getuid()}:{self.path}".encode(), digest_size=4).hexdigest()
        # Not tempfile.gettempdir(): on macOS that is so long that Ray's sockets do not fit behind it.
        path = Path("/tmp") / f"fe-{digest}"  # noqa: S108
        path.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to another user")
        path.chmod(0o700)
        return path

    def ray_temp(self) -> Path:
        """Give the folder of Ray's sessions below `short_temp`, made when missing; older sessions in it are removed.

        Each process of Ray opens the folder that it is given to everybody on the machine (0777): so it lies in one that
        only we may pass.
        """
        path = self.short_temp() / "ray"
        path.mkdir(exist_ok=True)
        sessions = sorted(p for p in path.glob("session_*") if p.is_dir() and not p.is_symlink())
        for old in sessions[: -KEPT_SESSIONS + 1]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def release(self) -> None:
        """Let another process have it."""
        with contextlib.suppress(OSError):
            (self.path / "running.json").unlink(missing_ok=True)
        os.close(self._lock)
