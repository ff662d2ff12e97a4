"""Log lines that say whose they are: the process, the request and the trace; for people, or one JSON object a line.

A request has one id at every face and in every actor, so one search finds its way through all logs.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from contracts.caller import request_id
from contracts.tracing import trace_id

if TYPE_CHECKING:
    from contracts.settings import Settings

requests = logging.getLogger("factor_engine.requests")
"""Lines of requests: INFO of what went well or was the caller's fault, WARNING of what failed on our side."""
requests.setLevel(logging.CRITICAL)
LEVELS = {"none": logging.CRITICAL, "problems": logging.WARNING, "all": logging.INFO}


class _Lines(logging.Formatter):
    """One record as a line; the traceback of an error under it, or in it.

    Parameters
    ----------
    process
        What the process is: `http`, `bridge`, `router`, or an actor's workload.
    as_json
        Whether a line is a JSON object.
    """

    def __init__(self, process: str, *, as_json: bool) -> None:
        super().__init__()
        self._process = process
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        about: dict[str, Any] = getattr(record, "about", {})
        own = {"request_id": request_id() or None, "trace_id": trace_id()} | about
        whose = {name: value for name, value in own.items() if value is not None}
        if self._as_json:
            line = {"time": at, "level": record.levelname, "process": self._process, "logger": record.name}
            line |= {"message": record.getMessage(), **whose}
            if record.exc_info:
                line["error"] = self.formatException(record.exc_info)
            return json.dumps(line, default=str)
        words = " ".join(f"{name}={value}" for name, value in whose.items())
        text = f"{at} {record.levelname} {self._process} {record.name}: {record.getMessage()}"
        text = f"{text} [{words}]" if words else text
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def begin(process: str, settings: Settings) -> None:
    """Write this process's log lines to standard error, as the settings say."""
    root = logging.getLogger()
    for handler in [known for known in root.handlers if isinstance(known.formatter, _Lines)]:
        root.removeHandler(handler)
    made = logging.StreamHandler(sys.stderr)
    made.setFormatter(_Lines(process, as_json=settings.log_format == "json"))
    root.addHandler(made)
    requests.setLevel(LEVELS[settings.log_requests])


def told(what: str, status: int, *, ours: bool, **about: Any) -> None:
    """Write the line of a request, if such lines are wanted.

    Parameters
    ----------
    what
        The route, subject or operation.
    status
        As HTTP's.
    ours
        Whether it failed on our side.
    about
        What stands beside it; `request_id` and `trace_id` stand there by themselves.
    """
    if wanted(ours=ours):
        level = logging.WARNING if ours else logging.INFO
        requests.log(level, "%s: %d", what, status, extra={"about": {"status": status, **about}})


def wanted(*, ours: bool) -> bool:
    """Say whether a request gets a line that failed on our side, or that did not."""
    return requests.isEnabledFor(logging.WARNING if ours else logging.INFO)
