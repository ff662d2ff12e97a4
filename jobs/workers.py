"""What runs the chains of a recompute: this process, more of them (`jobs.processes`), or Ray (`jobs.ray_workers`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Workers(Protocol):
    """Runs a function for many arguments, so many at once as there is room for."""

    def run(
        self, function: Callable[..., float], arguments: Sequence[tuple[Any, ...]], look: Callable[[], None]
    ) -> list[float]:
        """Give the results in the order of the arguments; `look` is called again and again meanwhile."""
        ...

    def close(self) -> None:
        """Let go of what the workers stand on."""
        ...


class Inline:
    """One after the other, here."""

    def run(
        self, function: Callable[..., float], arguments: Sequence[tuple[Any, ...]], look: Callable[[], None]
    ) -> list[float]:
        """Call the function; `look` is called behind each block."""
        return [function(*one, look) for one in arguments]

    def close(self) -> None:
        """Nothing is held."""
