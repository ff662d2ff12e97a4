"""What a method of a workload actor gives back; a face makes the response, and the event, of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.work import Device


@dataclass(frozen=True, slots=True)
class Calculation:
    """A calculation: the face gives it an id and its timings, and publishes it on the operation's event subjects.

    Parameters
    ----------
    values : dict
        What was calculated; in an actor also what becomes a dictionary at the face (`actors.reading.columns`).
    message : str
        One sentence for people.
    confidence_score : float
        From 0 to 1; docs/api.md has the formula.
    model_version : int or None
        The version that was read or made; None where posted frames were.
    device : Device
        What ran the kernel.
    details : mapping
        Further fields of the answer's `calculation_result`.
    tables : sequence of bytes
        Arrow IPC streams, published before the event that announces them.
    event : bool
        False: the result is not published.
    stages_s : mapping
        Seconds of what is no computation, such as a durable write; they become stages of their own.
    """

    values: Any
    message: str
    confidence_score: float
    model_version: int | None = None
    device: Device = Device.CPU
    details: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[bytes] = ()
    event: bool = True
    stages_s: Mapping[str, float] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a call with the fields: a third of the time that a dataclass with slots takes by itself."""
        given = (self.values, self.message, self.confidence_score, self.model_version, self.device, self.details)
        return Calculation, (*given, self.tables, self.event, self.stages_s)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole response that goes out as it stands: it is no calculation, and no event follows."""

    body: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a call with the body."""
        return Page, (self.body,)


Answer = Calculation | Page
