"""Numba kernels of the factor library, compiled once per version of their source.

numba notices a change in the file of a cached function, not in the files of the functions it calls. So the cache of
these kernels lies in a folder named after a hash of all of them, under NUMBA_CACHE_DIR where that is set.
"""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path

import numba


def _cache_folder() -> Path:
    here = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    root = numba.config.CACHE_DIR
    if not root:
        own = here / "__pycache__"
        root = own if os.access(own if own.exists() else here, os.W_OK) else Path.home() / ".cache" / "factor-engine"
    return Path(root) / f"factor-library-{digest.hexdigest()[:16]}"


_before = numba.config.CACHE_DIR
numba.config.CACHE_DIR = str(_cache_folder())
try:
    import_module("factors.library.kernels.drive")
finally:
    numba.config.CACHE_DIR = _before
