"""Where numba keeps what it compiled: beside the sources, or in the run directory where these cannot be written."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Literal, NamedTuple

VARIABLE = "NUMBA_CACHE_DIR"


class Place(NamedTuple):
    """A folder of compiled kernels, and who chose it: the environment, nobody (beside the sources), or the engine."""

    folder: Path
    by: Literal["environment", "default", "engine"]


def choose(run_dir: Path) -> Place:
    """Say where the kernels of a run in `run_dir` go; nothing is changed."""
    named = os.environ.get(VARIABLE)
    if named:
        return Place(Path(named), "environment")
    spec = importlib.util.find_spec("factors")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    sources = Path(next(iter(spec.submodule_search_locations)))
    beside = sources / "__pycache__"
    if os.access(beside if beside.exists() else sources, os.W_OK):
        return Place(beside, "default")
    return Place(run_dir / "kernels", "engine")


def prepare(run_dir: Path) -> bool:
    """Choose the folder for this process's children; true when it is in the run directory.

    Without one numba refuses to load a kernel: a checkout that cannot be written and a home that cannot be either.
    """
    place = choose(run_dir)
    if place.by != "engine":
        return False
    place.folder.mkdir(mode=0o700, exist_ok=True)
    os.environ[VARIABLE] = str(place.folder)
    return True
