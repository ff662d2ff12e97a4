"""Where numba keeps what it compiled: beside the sources, or in the run directory where these cannot be written."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def prepare(run_dir: Path) -> bool:
    """Choose the folder for this process's children; true when it is in the run directory.

    Without one numba refuses to load a kernel: a checkout that cannot be written and a home that cannot be either.
    """
    if os.environ.get(VARIABLE):
        return False
    spec = importlib.util.find_spec("factors")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    sources = Path(next(iter(spec.submodule_search_locations)))
    beside = sources / "__pycache__"
    if os.access(beside if beside.exists() else sources, os.W_OK):
        return False
    folder = run_dir / "kernels"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ[VARIABLE] = str(folder)
    return True
