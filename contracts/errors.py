"""The one tree of errors that a caller can meet, each with a stable code that every face maps once, at its border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

PROBLEM_TYPE_BASE = "urn:factor-engine:problem:"


class EngineError(Exception):
    """Anything that the service tells a caller instead of an answer.

    Parameters
    ----------
    detail : str
        One sentence: what was wrong and, where it helps, what would be right. At most ``MAX_DETAIL`` characters of it
        are kept.
    field : str, optional
        The request field or column at fault.
    rows : sequence, optional
        The rows at fault (indices, or dates with symbols); at most ``MAX_ROWS`` are kept, the count goes into `detail`.
    retry_after_s : float, optional
        When it makes sense to ask again.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    MAX_ROWS: ClassVar[int] = 20
    MAX_DETAIL: ClassVar[int] = 2000
    MAX_FIELD: ClassVar[int] = 200

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        rows: Sequence[Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        # What callers sent is quoted in many places, and may be as long as a body.
        self.detail = detail if len(detail) <= self.MAX_DETAIL else f"{detail[: self.MAX_DETAIL]} ..."
        super().__init__(self.detail)
        self.field = field if field is None or len(field) <= self.MAX_FIELD else f"{field[: self.MAX_FIELD]} ..."
        self.rows = list(rows)[: self.MAX_ROWS] if rows is not None else None
        self.retry_after_s = retry_after_s

    def to_problem(self, instance: str | None = None) -> dict[str, Any]:
        """Give the RFC 9457 problem document; also the body of a NATS error reply."""
        problem: dict[str, Any] = {
            "type": PROBLEM_TYPE_BASE + self.code,
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "retryable": self.retryable,
        }
        found = {"field": self.field, "rows": self.rows, "retry_after_s": self.retry_after_s}
        problem |= {name: value for name, value in found.items() if value is not None}
        if instance is not None:
            problem["instance"] = instance
        return problem

    @staticmethod
    def from_problem(problem: Mapping[str, Any]) -> EngineError:
        """Rebuild the error that `to_problem` described; an unknown code becomes an internal error."""
        kind = BY_CODE.get(str(problem.get("code")), InternalError)
        return kind(
            str(problem.get("detail", "")),
            field=problem.get("field"),
            rows=problem.get("rows"),
            retry_after_s=problem.get("retry_after_s"),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the problem document, so that the error crosses process borders whole."""
        return EngineError.from_problem, (self.to_problem(),)


class InternalError(EngineError):
    """A defect of ours; the caller's request may be right."""


class MalformedBody(EngineError):
    """The body is not what its content type says."""

    code, status, title = "malformed_body", 400, "Malformed body"


class InvalidInput(EngineError):
    """The body was read, but a field or a row is not acceptable."""

    code, status, title = "invalid_input", 422, "Invalid input"


class UnknownSymbol(InvalidInput):
    """A symbol is not in the model."""

    code, title = "unknown_symbol", "Unknown symbol"


class Infeasible(InvalidInput):
    """No weights meet all limits; `rows` names those that stand against each other."""

    code, title = "infeasible", "Infeasible limits"


class DateOutsideModel(InvalidInput):
    """The date is not one of the model's dates."""

    code, title = "date_outside_model", "Date outside the model"


class EndsActors(EngineError):
    """Processes of the engine ended while they computed the request; it is not tried again, and kept for inspection."""

    code, status, title = "ends_actors", 422, "Request ends actors"


class UnknownModel(EngineError):
    """No model has this id."""

    code, status, title = "unknown_model", 404, "Unknown model"


class UnknownPortfolio(EngineError):
    """No portfolio has this id."""

    code, status, title = "unknown_portfolio", 404, "Unknown portfolio"


class UnknownWatch(EngineError):
    """No watch has this id."""

    code, status, title = "unknown_watch", 404, "Unknown watch"


class UnknownEstimator(EngineError):
    """No registered estimator has this id."""

    code, status, title = "unknown_estimator", 404, "Unknown estimator"


class UnknownJob(EngineError):
    """No job has this id."""

    code, status, title = "unknown_job", 404, "Unknown job"


class UnknownLetter(EngineError):
    """No dead letter has this number."""

    code, status, title = "unknown_letter", 404, "Unknown dead letter"


class UnknownFactor(EngineError):
    """No factor or category has this id."""

    code, status, title = "unknown_factor", 404, "Unknown factor"


class UnknownOperation(EngineError):
    """No operation has this name, or the subject names none."""

    code, status, title = "unknown_operation", 404, "Unknown operation"


class VersionConflict(EngineError):
    """Another writer committed first."""

    code, status, title, retryable = "version_conflict", 409, "Version conflict", True


class Unauthenticated(EngineError):
    """The request has no token, or one that is not known here."""

    code, status, title = "unauthenticated", 401, "Unauthenticated"


class Forbidden(EngineError):
    """The token's scope does not cover this."""

    code, status, title = "forbidden", 403, "Forbidden"


class ForeignOrigin(EngineError):
    """A page of another site asks; only pages of this host may write or open a websocket."""

    code, status, title = "foreign_origin", 403, "Foreign origin"


class UnknownHost(EngineError):
    """The host that was asked for is none of this engine's names."""

    code, status, title = "unknown_host", 421, "Misdirected request"


class BodyTooLarge(EngineError):
    """The body is over the limit."""

    code, status, title = "body_too_large", 413, "Body too large"


class TableTooLarge(EngineError):
    """The table, decoded or spread to dates times names, takes more memory than it may; the detail has the numbers."""

    code, status, title = "table_too_large", 413, "Table too large"


class NotAcceptable(EngineError):
    """The answer is not given in the form that was asked for; the detail says in which it is."""

    code, status, title = "not_acceptable", 406, "Not acceptable"


class AnswerGone(EngineError):
    """The rest of an answer is not kept any more; ask again."""

    code, status, title, retryable = "answer_gone", 410, "Answer gone", True


class UnsupportedMedia(EngineError):
    """The content type is none that we read."""

    code, status, title = "unsupported_media", 415, "Unsupported media type"


class WrongEngine(EngineError):
    """The request came to another engine than the one it is for; nothing of it was done."""

    code, status, title, retryable = "wrong_engine", 421, "Wrong engine", True


class DeadlineExceeded(EngineError):
    """The caller's deadline passed before the answer was there."""

    code, status, title, retryable = "deadline_exceeded", 408, "Deadline exceeded", True


class CallerGone(EngineError):
    """The caller went away before the answer was there, and what was computed for it has ended."""

    code, status, title = "caller_gone", 499, "Caller gone"


class QueueFull(EngineError):
    """The queue of the workload is full."""

    code, status, title, retryable = "queue_full", 429, "Queue full", True


class RateExceeded(EngineError):
    """The caller asks more often than it may."""

    code, status, title, retryable = "rate_exceeded", 429, "Rate exceeded", True


class Unavailable(EngineError):
    """A component that the answer needs is down; it is named."""

    code, status, title, retryable = "unavailable", 503, "Component unavailable", True


class ModelUnreadable(EngineError):
    """What the store holds of one model cannot be read: its files are damaged, or of another release."""

    code, status, title = "model_unreadable", 503, "Model unreadable"


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its name when it says nothing: fit for a sentence of ours."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip() if text else type(error).__name__


def _tree(root: type[EngineError]) -> list[type[EngineError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


BY_CODE: dict[str, type[EngineError]] = {kind.code: kind for kind in _tree(EngineError) if kind is not EngineError}
