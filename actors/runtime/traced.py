"""The spans of what an actor computes: one for each item that belongs to a trace, with what it waited and what came."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from contracts import tracing
from contracts.caller import traceparent
from contracts.errors import EngineError
from contracts.work import WorkItem


class Traced:
    """Opens the spans of a batch around its computation.

    What the computation does, such as reads of the store, belongs to the first of them: it is done once for all.

    Parameters
    ----------
    operation
        The operation of all items.
    items
        What is computed together; those without a trace get no span.
    """

    __slots__ = ("_items", "_opened", "_operation")

    def __init__(self, operation: str, items: Sequence[WorkItem]) -> None:
        self._operation = operation
        self._items = items
        self._opened: list[Any] = []

    def __enter__(self) -> Self:
        """Open the spans; without any where nothing is traced."""
        if not tracing.on():
            return self
        now = time.time()
        for item in self._items:
            opened = None
            if item.trace:
                # What went before: packing, the way here, the wait in the lane.
                about = {
                    "request_id": item.request_id,
                    "batch": len(self._items),
                    "before_ms": (now - item.sent_at) * 1e3,
                }
                opened = tracing.opened_span(f"compute {self._operation}", tracing.SERVER, item.trace, about)
            self._opened.append(opened)
        first = next((opened for opened in self._opened if opened is not None), None)
        if first is not None:
            traceparent.set(tracing.text_of(first))
        return self

    def told(self, answers: Sequence[Any]) -> None:
        """Note which items ended in an error."""
        for opened, answer in zip(self._opened, answers, strict=False):
            if opened is not None and isinstance(answer, EngineError):
                tracing.failed(opened, answer)

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the spans, at what ended the computation where that broke off."""
        if not self._opened:
            return
        traceparent.set("")
        for opened in self._opened:
            if opened is not None:
                if error is not None:
                    tracing.failed(opened, error)
                opened.end()
