"""Where the NATS server listens and how to log in: one private file in the run directory, or the operator's URL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from contracts.files import replacing
from contracts.settings import Settings

RESTART_FILE = "restart-wanted"


class NatsAccess(NamedTuple):
    """One way to reach NATS. Its text form shows no secret."""

    url: str
    user: str | None = None
    password: str | None = None

    def options(self) -> dict[str, Any]:
        """Give the keyword arguments of ``nats.connect``."""
        out: dict[str, Any] = {"servers": [part.strip() for part in self.url.split(",")]}
        if self.user is not None:
            out |= {"user": self.user, "password": self.password}
        return out

    @property
    def public_url(self) -> str:
        """The URL without credentials."""
        return ",".join(_without_login(part.strip()) for part in self.url.split(","))

    def __repr__(self) -> str:
        return f"NatsAccess({self.public_url})"

    def __str__(self) -> str:
        return repr(self)


def _without_login(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def access_path(run_dir: Path) -> Path:
    """The file that the embedded server's access is kept in (mode 0600)."""
    return run_dir / "nats" / "access.json"


def write_access(run_dir: Path, access: NatsAccess) -> None:
    """Put the access where every process of this run finds it, readable by its owner only."""
    path = access_path(run_dir)
    with replacing(path, private=True) as out:
        out.write(json.dumps(access._asdict()).encode())


def read_access(run_dir: Path) -> NatsAccess | None:
    """Read what `write_access` wrote; None when no embedded server was ever started here."""
    try:
        return NatsAccess(**json.loads(access_path(run_dir).read_text()))
    except FileNotFoundError:
        return None


def nats_access(current: Settings) -> NatsAccess | None:
    """Give the external server that the settings name, else the embedded server of the run directory, else None."""
    return NatsAccess(current.nats_url) if current.nats_url else read_access(current.run_dir)


def want_restart(run_dir: Path) -> None:
    """Ask whoever keeps the embedded server to start it again."""
    (run_dir / "nats" / RESTART_FILE).touch()


def restart_wanted(run_dir: Path, *, take: bool) -> bool:
    """Say whether a restart was asked for; `take` makes it asked for no more."""
    path = run_dir / "nats" / RESTART_FILE
    if not path.exists():
        return False
    if take:
        path.unlink(missing_ok=True)
    return True
