"""One row of the operation table."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from contracts.operations.workloads import Workload
from contracts.requests import Request
from contracts.results import Result
from contracts.tokens import Scope
from contracts.work import PREFERRED, ROUNDING, Device, Lane

V1 = "/api/v1/factor-engine"
POSTED_BYTES = 64 * 1024
"""A posted table of more is computed in the heavy lane, so that short requests do not wait behind it."""


@dataclass(frozen=True)
class Route:
    """An HTTP route. Path parameters and query parameters are fields of the request model."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str


@dataclass(frozen=True)
class Operation:
    """One thing the engine can do.

    Parameters
    ----------
    name
        The operation's name; also the actor's method, and the client's.
    routes
        HTTP routes, the one that clients use first.
    subjects
        Request subjects that it answers, last token included (``risk.factor_request.factor_exposures``); the one that
        clients use first.
    events
        Subjects that its result is published on; ``{field}`` is a field of the request (`portfolio_id`, `model_id`,
        `symbol`) or `factor_type`, written as one token. Old names are listed behind the new one, as aliases.
    message_type
        ``ce-type`` of the event, the old MessageType.
    timeout_s
        Deadline when the caller names none.
    example
        A whole request that works as it stands; see `contracts.examples`.
    values
        The field of `calculation_result` that has the values.
    written
        The field of the request that names what a write changes: writes of one are done in the order of their coming.
    operator
        Whether it is a thing of the operator's, for tokens of the scope `admin` only.
    summary
        What it does, in one sentence; default: the first line of the request model's docstring.
    agents
        Whether agents may call it as a tool of `/mcp`; reads only.
    named_subjects
        Request subjects whose last token is a field of the request instead of the operation's name
        (``portfolio.factor_exposure.{portfolio_id}``); one operation a group.
    table
        Where the answer is a table: the shape of its values (`contracts.answer_table.SHAPES`, or "arrow" where they are
        one already) and what its names are; it is then given as Arrow to whoever asks for it.
    shown
        The part of the answer that a notebook shows first (`clients.shown`); default: its table, or its first part.
    tolerance
        Largest error that a device other than the CPU may bring into its result, relative to the largest number of it;
        `devices.dispatch` holds it.
    kernel
        The kernel of `devices.kernels` that it lets a device compute; "" where the CPU computes all of it.
    """

    name: str
    workload: Workload
    request: type[Request]
    result: type[Result]
    factor_type: str
    access: Literal["read", "write"] = "read"
    lane: Lane = Lane.LIGHT
    routes: tuple[Route, ...] = ()
    subjects: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    message_type: str = "FACTOR_CALCULATION"
    timeout_s: float = 10.0
    example: Mapping[str, Any] = field(default_factory=dict)
    values: Literal["factor_values", "factor_exposures"] = "factor_values"
    written: str = "model_id"
    summary: str = ""
    operator: bool = False
    agents: bool = False
    named_subjects: tuple[str, ...] = ()
    table: tuple[str, str] | tuple[()] = ()
    shown: str = ""
    tolerance: float = 1e-6
    kernel: str = ""

    def __post_init__(self) -> None:
        """Take the summary from the request model where the row gives none."""
        if not self.summary:
            object.__setattr__(self, "summary", (self.request.__doc__ or self.name).strip().splitlines()[0])

    def lane_of(self, request: Request) -> Lane:
        """Give the lane of one request: a calculation on a posted table is long, others of its operation are not."""
        if self.lane is Lane.LIGHT and self.frames:
            for name in self.frames:
                value = getattr(request, name, None)
                if type(value) is bytes and len(value) > POSTED_BYTES:
                    return Lane.HEAVY
        if self._tells_lane and getattr(request, "light", False):
            return Lane.LIGHT
        return self.lane

    @cached_property
    def _tells_lane(self) -> bool:
        """Whether its requests say of themselves that they are light."""
        # Looked up once: pydantic looks for what a model has not in Python, on the way of every request.
        return hasattr(self.request, "light")

    @property
    def able(self) -> tuple[Device, ...]:
        """The devices that may compute something of it: one rounding of theirs does not exceed its tolerance."""
        return tuple(device for device in PREFERRED if self.kernel and ROUNDING[device] <= self.tolerance)

    @cached_property
    def frames(self) -> tuple[str, ...]:
        """The fields of the request that are, or may be, tables."""
        return tuple(name for name, field in self.request.model_fields.items() if _holds_bytes(field.annotation))

    @cached_property
    def model_optional(self) -> bool:
        """Whether `model_id` may be left out."""
        model = self.request.model_fields.get("model_id")
        return model is not None and not model.is_required()

    @property
    def bulk(self) -> bool:
        """Whether its table is the body of the HTTP request itself."""
        return bool(self.routes) and self.routes[0].method == "PUT" and "feature_data" in self.request.model_fields

    def line(self, named: object) -> str:
        """Name the line in which a write waits for its turn: the writer, and what is written."""
        return f"{self.workload}:{named}"

    @property
    def scope(self) -> Scope:
        """What a caller's token must cover."""
        if self.operator:
            return Scope.ADMIN
        return Scope.WRITE if self.writes else Scope.READ

    def scope_of(self, request: Request) -> Scope:
        """What a caller's token must cover for this request: one that keeps something is a write."""
        return max(self.scope, Scope.WRITE if request.keeps is not None else Scope.NONE)

    @cached_property
    def writes(self) -> bool:
        """Whether it makes something durable, and must be repeated under its request id only."""
        return self.access == "write"


def _holds_bytes(annotation: Any) -> bool:
    return annotation is bytes or any(_holds_bytes(part) for part in typing.get_args(annotation))


def post(*paths: str) -> tuple[Route, ...]:
    """Give POST routes."""
    return tuple(Route("POST", path) for path in paths)


def get(*paths: str) -> tuple[Route, ...]:
    """Give GET routes."""
    return tuple(Route("GET", path) for path in paths)
