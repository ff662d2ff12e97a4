"""A process whose event loop answers requests: the bridge, and a replica of the HTTP application."""

from __future__ import annotations

import gc
import sys

YOUNG_OBJECTS = 20_000
"""Objects made before the youngest are collected. Python's 700 is less than one batch of requests makes."""
SWITCH_S = 0.0005
"""How long a thread keeps the interpreter when another wants it. A result comes on a thread of Ray's and waits so long
for a busy event loop; Python's 5 ms is longer than the whole answer takes."""


def settle() -> None:
    """Set the process up for many short answers; call it when what stays has been loaded.

    Measured with 64 requests in flight over NATS: a fifth more answers per second, `benchmarks/latency.py`.
    """
    gc.collect()
    # A full collection would walk all the modules, for tens of milliseconds in the midst of answers.
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    sys.setswitchinterval(SWITCH_S)
