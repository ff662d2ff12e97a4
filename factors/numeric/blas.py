"""One thread for products and decompositions of small matrices, whatever BLAS was told.

BLAS shares a product of 40 columns among all its threads, which then wait for each other in a spin. On two cores that
others use too, a product of 0.2 ms took 70 ms and a decomposition of 40 x 40 of 0.2 ms took 25. With one thread the
bits do not depend on how many there are, either.
"""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from functools import cache
from typing import Any, Self

from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> list[Any]:
    """Give the BLAS libraries that are loaded, numpy's among them; Accelerate is none that threadpoolctl knows."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _tell(library: Any, number: int) -> None:
    # threadpoolctl obeys one thread only as long as that lives; here whoever leaves last restores, under a lock.
    getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


class OneBlasThread(ContextDecorator):
    """Within it BLAS computes with one thread; may be nested and entered by several threads at once.

    The number of threads is the process's: the first that enters keeps it, and the last that leaves restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[tuple[Any, int]] = []

    def __enter__(self) -> Self:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                numbers = [(library, library.get_num_threads()) for library in _libraries()]
                self._before = [(library, number) for library, number in numbers if number != 1]
                for library, _ in self._before:
                    _tell(library, 1)
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for library, number in self._before:
                    _tell(library, number)


one_blas_thread = OneBlasThread()
