"""What a method of a workload actor gives back; a face makes the response, and the event, of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.work import Device

_DEVICES = {device.value: device for device in Device}


@dataclass(slots=True)
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
    stages_s : mapping, optional
        Seconds of what is no computation, such as a durable write; they become stages of their own.
    day : str
        Names the one day that a write stored, or that values are of: what it came behind, and its row, to the bit
        (`actors.reading.next_day`). Empty where that is not known. No caller is told it.
    few : bool
        It is known to be written as JSON in no time, as it came in few bytes.
    """

    values: Any
    message: str
    confidence_score: float
    model_version: int | None = None
    device: Device = Device.CPU
    details: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[bytes] = ()
    event: bool = True
    stages_s: Mapping[str, float] | None = None
    day: str = ""
    few: bool = field(default=False, compare=False)

    def timed(self, **stages_s: float) -> Calculation:
        """Give it with further stages, seconds."""
        return replace(self, stages_s={**(self.stages_s or {}), **stages_s})

    def fields(self) -> tuple[Any, ...]:
        """Give the fields in their order, plain; `made_of` makes the same one of them."""
        return (
            self.values, self.message, self.confidence_score, self.model_version, self.device._value_, self.details,
            self.tables, self.event, self.stages_s, self.day,
        )  # fmt: skip

    @classmethod
    def made_of(
        cls, values: Any, message: str, confidence_score: float, model_version: int | None, device: str, *rest: Any
    ) -> Calculation:
        """Make one of its fields; an enum as its name travels for a tenth of the time."""
        return cls(values, message, confidence_score, model_version, _DEVICES[device], *rest)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole response that goes out as it stands: it is no calculation, and no event follows."""

    body: Mapping[str, Any]


Answer = Calculation | Page
