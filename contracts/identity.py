"""Which engine this is: an id that its faces show, that requests routed inside carry, and that callers may insist on.

A port number proves nothing: what listens on it may have changed hands since it was learnt.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from pathlib import Path

from contracts.files import replacing

ENGINE_HEADER = "factor-engine-id"
"""On every answer, the engine that gave it; on a request, the only engine that may do it."""
ROUTED_HEADER = "factor-engine-routed-by"
"""Set by an engine's own proxy on what it passes on; only replicas of the same engine take it."""
ID_FILE = "engine.id"


@lru_cache(maxsize=8)
def engine_id(run_dir: Path) -> str:
    """Give the id of the engine of a run directory, 32 hexadecimal digits; the same over restarts.

    It is made of random digits kept in the directory and of the directory's path, so that a copy of a run directory is
    another engine.
    """
    path = run_dir.resolve() / ID_FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    seed = _read(path)
    while not seed:
        with replacing(path, keep_first=True) as out:
            out.write(secrets.token_hex(16).encode())
        seed = _read(path)
    return hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=16).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
