"""Memory that a computation took and the process no longer needs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

from store.parts import MAPS


def limit(memory_mb: int) -> None:
    """Hold this process to so much private memory: beyond it a request fails, and not the machine.

    Where the kernel knows no such limit (macOS) nothing is done.
    """
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = memory_mb * 2**20
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def give_back() -> None:
    """Give what is free to the system: glibc keeps freed arrays of up to 32 MiB, in a process that may idle.

    Pages of the store that were only read once go too.
    """
    gc.collect()
    MAPS.let_go()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)
