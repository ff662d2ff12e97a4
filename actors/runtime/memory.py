"""Memory that a computation took and the process no longer needs."""

from __future__ import annotations

import ctypes
import gc
import sys

from store.parts import MAPS


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
