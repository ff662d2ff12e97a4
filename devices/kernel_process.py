"""``python -m devices.kernel_process MODULE FD``: run a module's kernels for the process that started this.

It reads a line of JSON for each call, with the arrays in the shared memory of the file FD, and ends when its standard
input does: nothing of it is left when the actor is gone, however it went.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import sys
from types import ModuleType
from typing import Any

import numpy as np

from devices.lanes import bytes_of, placed, taken
from devices.neural_engine import OutOfRangeError
from factors.errors import FactorError


def main(module_name: str, fd: int) -> None:
    """Answer calls until the input ends."""
    # Libraries print to standard output: the lines go to a copy of it, and what they print to standard error.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    module = importlib.import_module(module_name)
    if hasattr(module, "coremltools"):
        module.coremltools()
    out.write(b'{"ready": true}\n')
    calls = _Calls(module, fd)
    for line in sys.stdin.buffer:
        out.write(json.dumps(calls.answer(json.loads(line))).encode() + b"\n")


class _Calls:
    """Answers calls from the shared memory of a file."""

    def __init__(self, module: ModuleType, fd: int) -> None:
        self._module, self._fd = module, fd
        self._memory: mmap.mmap | None = None

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Run one kernel; say what came of it and where it lies."""
        try:
            memory = self._of(asked["size"])
            given = [taken(memory, about) for about in asked["arguments"]]
            result = getattr(self._module, asked["kernel"])(*given)
            results = result if isinstance(result, tuple) else (np.asarray(result),)
            needed = asked["from"] + bytes_of(results)
            if needed > len(memory):
                os.ftruncate(self._fd, 2 * needed)
                memory = self._of(2 * needed)
            about, _ = placed(memory, results, asked["from"])
        except (FactorError, OutOfRangeError) as error:
            return {"refused": str(error)}
        except Exception as error:  # noqa: BLE001  whatever it is, the actor is told
            return {"error": f"{type(error).__name__}: {error}"}
        return {"arrays": about, "several": isinstance(result, tuple), "size": len(memory)}

    def _of(self, size: int) -> mmap.mmap:
        if self._memory is None or len(self._memory) != size:
            self._memory = mmap.mmap(self._fd, size)
        return self._memory


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
