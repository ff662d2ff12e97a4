"""docs/subjects.md and docs/asyncapi.json, written from the operation table: ``python -m bus.document``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bus import answer_form, inbound, requests, spool, streams
from bus.health_metrics import ACTORS_S, LATEST, WHOLE_S
from bus.health_metrics import BUCKET as BUCKET_OF_HEALTH
from bus.market import BUCKET
from bus.probe import PROBE_SUBJECT
from bus.subjects import (
    BARS,
    HEALTH,
    INBOUND_PREFIX,
    LIVE_PREFIX,
    QUEUE_GROUP,
    REJECTED,
    REJECTED_MOST,
    TEST,
    TICK_PREFIX,
    TICKS,
    named,
)
from contracts.event_data import RejectedEvent, ResultEvent, TestEvent
from contracts.events import event
from contracts.frames import ARROW_STREAM
from contracts.health_metrics import HealthMetrics
from contracts.operations import OPERATIONS, Operation, by_subject
from contracts.results import Problem
from contracts.version import VERSION

DOCS = Path(__file__).resolve().parent.parent / "docs"
TICK, LIVE = f"{TICK_PREFIX}{{symbol}}", f"{LIVE_PREFIX}{{watch_id}}"
FEEDS = {
    TICK: ("One name's trade, quote or fields of the day.", "application/json"),
    TICKS: ("Many rows at once: symbol, time, and a column for each field.", "application/vnd.apache.arrow.stream"),
    "market_data.bar.{model_id}": ("A model's day: {model_id, rows, final}.", "application/json"),
    "market_data.close.{model_id}": ("A model's day is over: {date}; what came is committed.", "application/json"),
}
"""What the engine takes without a reply."""
BINARY = {"type": "string", "contentEncoding": "binary", "description": "An Arrow IPC stream."}
EVENTS: dict[tuple[str, str], type[BaseModel]] = {
    (f"{REJECTED}{{subject}}", "FACTOR_REQUEST_REJECTED"): RejectedEvent,
    (TEST, "TEST_BROADCAST"): TestEvent,
}
"""What is told beside results: where, as which `ce-type`, and what it says."""
REFERENCE = "#/components/schemas/{model}"

INTRO = f"""\
# NATS subjects

For whoever talks to the engine over NATS. After this page you can ask on a subject, send durably, send a bar, and
subscribe to results. [clients.md](clients.md) has a whole example, [drawings.md](drawings.md) the way of a bar.

Written by `python -m bus.document` from the operation table; a test compares. The same as a machine reads it:
[asyncapi.json](asyncapi.json).

## Requests

A request is a JSON object on one of the subjects below, with a reply inbox (queue group `{QUEUE_GROUP}`). The reply is
the same JSON as over HTTP. Without a reply inbox the request is computed at most once, its result is published, and it
is counted (`without_reply`). NATS does not tell whether a requester still waits, so a request is computed until its
deadline, whoever has gone: who waits shorter says so by `{requests.TIMEOUT_HEADER}`. Requests run at the same time;
beyond the bridge's limit one is refused with status 429.

| header of a request | meaning |
|---|---|
| `{requests.PRIORITY_HEADER}` | low, normal, high, urgent, critical; default: `messagebus_priority` of the body |
| `{requests.TIMEOUT_HEADER}` | deadline in milliseconds; default: the operation's |
| `{requests.REQUEST_ID_HEADER}` | repeat it to repeat a write safely |
| `{answer_form.ACCEPT}` | `{ARROW_STREAM}`: the answer as one Arrow table, where it is one |
| `{spool.PARTS_HEADER}` | `yes`: an answer that is over the server's limit comes in parts |

An answer that is a table (the column "table" below) is an Arrow IPC stream for whoever accepts that; what the answer
says beside its values is JSON in the header `{answer_form.ANSWER_HEADER}`. As JSON an answer has at most
{answer_form.JSON_VALUES_MOST:,} values; a larger one is the error `not_acceptable` (406).

### Answers over the server's limit

A message has a largest size, 8 MiB on the embedded server. A larger answer is refused with `body_too_large` unless the
request has the header `{spool.PARTS_HEADER}: yes`. With it the reply is the beginning of the answer, with these
headers:

| header of a first part | meaning |
|---|---|
| `{spool.ID_HEADER}` | names the answer; it is kept for {spool.KEPT_S:g} s |
| `{spool.BYTES_HEADER}` | how many bytes the whole answer has |
| `{spool.SHA256_HEADER}` | SHA-256 of the whole answer |

Ask for the rest on the same subject, with an empty body and two headers: `{spool.ID_HEADER}`, and
`{spool.OFFSET_HEADER}` with the number of bytes that you have. Each reply is the next part; you have everything when
you have `{spool.BYTES_HEADER}` bytes. A part may be asked for again. After {spool.KEPT_S:g} s the error is
`answer_gone` (410). `clients.nats` does all of it.

An error is a problem document (RFC 9457: `type`, `title`, `status`, `code`, `detail`, `retryable`, and where it helps
`field`, `rows`, `retry_after_s`) with the headers `status`, `Nats-Service-Error-Code` (the same number),
`Nats-Service-Error` and `Content-Type: application/problem+json`. A subject that no operation answers gets status 404.

The endpoints are the NATS micro service `factor-engine`: `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` answer.
"""

SYMBOLS = """\
### Names inside a subject

A portfolio, model or symbol is one token: letters, digits, `_` and `-` stay, every other byte is written `=XX`
(hexadecimal), and empty text is `=`. So `BRK.B` is `BRK=2EB`. The functions are `contracts.events.token` and `untoken`.

Where the last token names no operation, it names what the operation is about. A word that is nearly an operation of the
group, or is one of another's, is no name: the error says which was meant, and such a name goes into the body.
"""

DURABLE = f"""\
## Requests that must not be lost

Publish the same body on `{INBOUND_PREFIX}` followed by the request subject, for example
`{INBOUND_PREFIX}toraniko.model_request.append`. The stream `{streams.INBOUND}` keeps it until it was computed;
the writes of one model keep their order. The result is published on the operation's event subjects, and on the subject
in the header `{inbound.REPLY_HEADER}` when there is one. A passing fault is tried again, {inbound.MAX_DELIVER} times in
all; what cannot be computed is told on `{REJECTED}<subject as one token>` with its problem document (which names
the subject too; a token of more than {REJECTED_MOST} characters is cut and ends in a digest), and kept as a
dead letter ([operations.md](operations.md#the-message-bus-while-it-runs)). No stream covers
a plain request subject: a stream would answer the requester with its own acknowledgement.

## Market data

`{BARS}`: `{{"model_id": "main", "rows": <table>}}`, the new day's rows with the columns that the model was made with,
or as an `intake` beside them says. Without `model_id` the subject's last token is the model where there is one of that
name, else it is the default model; a `model_id` in the body counts before the subject. A
bar is appended to its model, in order, and is durable then. The model's factor library takes one step for the new day
and is published on `factor.library.{{model_id}}`: the values as Arrow tables (`date`, `symbol`, a column for each
factor; `ce-type` FACTOR_LIBRARY_UPDATED_VALUES), and behind them the event FACTOR_LIBRARY_UPDATED: the date, and how
many names have a value of each factor. The stream `{streams.MARKET_DATA}` keeps bars while the engine is away. The same
bar again, by its `{requests.REQUEST_ID_HEADER}` or as a redelivery, makes neither a second version nor a second step. A
bar of an unknown model, or of a day that is not after the model's last, is told on `{REJECTED}<subject as one token>`.

While the market is open, ticks and running bars move the provisional day of the models that are watched
([live.md](live.md) has the fields, and what is done with bad rows):

| subject | what |
|---|---|
| `{TICK}` | JSON: one name's trade, quote or fields of the day |
| `{TICKS}` | an Arrow IPC stream: `symbol`, `time`, and a column for each field, many rows at once |
| `{BARS}` with `"final": false` | a model's day so far, which commits nothing; without `final` it is the day's |
| `{LIVE}` | core NATS, in no stream: a watch's values as they move; the last one is in the bucket `{BUCKET}` |

A message on `{LIVE}` has its `factor-sequence`, `factor-market-time`, `factor-compute-ms`, `factor-provisional`
and `factor-seen` (the share of the awaited names that have a return) as headers, and in JSON as fields.
"""

ENVELOPE = """\
## Events

Every result is published on the subjects of its operation: CloudEvents in binary mode, the event's data in the body.
The data is the `calculation_result` of the answer with `model_id` and, for portfolios, `portfolio_id`. A result over
900 kB is announced without its values (`values_omitted`). Delivery is at least once: `Nats-Msg-Id` is the `ce-id`, so
the stream drops repetitions inside its window, and the same `ce-id` later is the same event. The events of one subject
are stored in the order in which they were made: while one is refused, those behind it wait, and other subjects go on.

| header | example |
|---|---|
"""


HEALTH_TEXT = f"""\
## Health by the second

`{HEALTH}` says each second what changed: `sequence`, `run`, `time`, and `changes`, a JSON merge patch (RFC 7396)
against the message before. Every {WHOLE_S:g} s, and after a start, `whole` is true and `metrics` has everything:
`state` and `degraded`, `latency_ms`, `throughput_per_s`, `success`, `devices`, `actors`, `models` with their versions,
and the `bus`. What is not known is missing. Whoever comes late, or sees a gap in `sequence`, reads the key `{LATEST}`
of the bucket `{BUCKET_OF_HEALTH}`, which has the newest message whole. The actors are asked every {ACTORS_S:g} s.
[asyncapi.json](asyncapi.json) has the fields (`HealthMetrics`).
"""


def _required(operation: Operation) -> str:
    required = [name for name, field in operation.request.model_fields.items() if field.is_required()]
    return ", ".join(f"`{name}`" for name in required) or "-"


def subjects_page() -> str:
    """Write docs/subjects.md."""
    lines = [
        INTRO,
        "| subject | operation | required fields | actor | lane | deadline, s | table |",
        "|---|---|---|---|---|---|---|",
    ]
    for subject, row in by_subject().items():
        about = (row.workload.value, row.lane.value, f"{row.timeout_s:g}", "yes" if row.table else "")
        cells = (f"`{subject}`", row.name, _required(row), *about)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", SYMBOLS, "| subject | operation | the token is |", "|---|---|---|"]
    lines += [f"| `{group}.<name>` | {row.name} | `{field}` |" for group, (row, field) in named().items()]
    lines += ["", DURABLE, ENVELOPE.rstrip()]
    example = event("factor.portfolio_exposures.BRK=2EB", "FACTOR_EXPOSURE", {}, event_id="5f0c…")
    headers = {**example.headers(41), "ce-time": "2024-01-02T14:30:00.123456Z"}
    lines += [f"| `{name}` | `{value}` |" for name, value in headers.items()]
    lines += ["", "| subject | `ce-type` | operation |", "|---|---|---|"]
    for row in OPERATIONS.values():
        lines += [f"| `{subject}` | {row.message_type} | {row.name} |" for subject in row.events]
    lines += [
        "| `factor.model_created.{model_id}` | FACTOR_MODEL_UPDATED | the job `jobs.recompute` |",
        f"| `{HEALTH}` | HEALTH_METRICS | each second, from the bridge, in no stream; see below |",
        f"| `{REJECTED}{{subject}}` | FACTOR_REQUEST_REJECTED | a durable request that cannot be computed |",
        f"| `{TEST}` | TEST_BROADCAST | a test broadcast |",
        "",
        HEALTH_TEXT,
        "## Streams",
        "",
        "| stream | subjects | keeps | when full |",
        "|---|---|---|---|",
    ]
    lines += [_stream_row(config) for config in streams.definitions()]
    return "\n".join(lines) + "\n"


def _stream_row(config: Any) -> str:
    age = f"{config.max_age / streams.DAY_S:g} days, " if config.max_age else "until computed, "
    full = "the oldest go" if config.discard.value == "old" else "the publisher is refused"
    subjects = ", ".join(f"`{subject}`" for subject in config.subjects if not subject.startswith(PROBE_SUBJECT))
    return f"| {config.name} | {subjects} | {age}{config.max_bytes / 2**30:g} GiB | {full} |"


def asyncapi() -> dict[str, Any]:
    """Write the AsyncAPI 3.0 document."""
    kinds: set[type[BaseModel]] = {row.request for row in OPERATIONS.values()}
    kinds |= {row.result for row in OPERATIONS.values()} | {Problem, HealthMetrics, *EVENTS.values(), ResultEvent}
    names = sorted(kinds, key=lambda kind: kind.__name__)
    references, definitions = models_json_schema([(kind, "validation") for kind in names], ref_template=REFERENCE)
    schema_of = {kind: reference for (kind, _), reference in references.items()}
    channels: dict[str, Any] = {
        "reply": {
            "address": None,
            "description": "The requester's inbox.",
            "messages": {"problem": {"$ref": "#/components/messages/Problem"}},
        }
    }
    messages: dict[str, Any] = {"Problem": _message(schema_of[Problem], "application/problem+json")}
    operations: dict[str, Any] = {}
    for row in OPERATIONS.values():
        messages[f"{row.name}.request"] = _message(schema_of[row.request])
        messages[f"{row.name}.result"] = _message(schema_of[row.result])
        if row.subjects:
            channels["reply"]["messages"][row.name] = {"$ref": _pointer("components", "messages", f"{row.name}.result")}
        if row.subjects and row.table:
            messages[f"{row.name}.table"] = _message(BINARY, ARROW_STREAM)
            reference = _pointer("components", "messages", f"{row.name}.table")
            channels["reply"]["messages"][f"{row.name}.table"] = {"$ref": reference}
        for subject in row.subjects:
            channels[subject] = _channel(subject, f"{row.name}.request")
            operations[f"answer {subject}"] = _answer(subject, row)
        if row.events:
            messages[f"{row.name}.event"] = _event_message(schema_of[ResultEvent], row.message_type)
        for template in row.events:
            made = _channel(template, f"{row.name}.event", row)
            if row.name == "update_factors":
                about = _event_message(BINARY, f"{row.message_type}_VALUES")
                messages[f"{row.name}.values"] = {**about, "contentType": ARROW_STREAM}
                made["messages"] |= _channel(template, f"{row.name}.values")["messages"]
            channels.setdefault(template, made)["messages"].update(made["messages"])
            operations.setdefault(f"publish {template}", _publish(template))
    for (template, kind), data in EVENTS.items():
        messages[kind] = _event_message(schema_of[data], kind)
        channels[template] = _channel(template, kind)
        operations[f"publish {template}"] = _publish(template)
    for address, (summary, kind) in FEEDS.items():
        messages[address] = _message({"type": ["object", "string"]}, kind)
        channels[address] = {**_channel(address, address), "description": f"{summary} See live.md."}
        operations[f"take {address}"] = {"action": "receive", "channel": {"$ref": _pointer("channels", address)}}
    messages[HEALTH] = _message(schema_of[HealthMetrics])
    channels[HEALTH] = {**_channel(HEALTH, HEALTH), "description": "Each second, on core NATS. See subjects.md."}
    operations[f"publish {HEALTH}"] = _publish(HEALTH)
    messages[LIVE] = _message({"type": "object"})
    channels[LIVE] = {**_channel(LIVE, LIVE), "description": "A watch's values, on core NATS. See live.md."}
    operations[f"publish {LIVE}"] = _publish(LIVE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Factor Engine",
            "version": VERSION,
            "description": "See subjects.md for headers and streams.",
        },
        "servers": {"local": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": definitions["$defs"]},
    }


def _message(payload: Any, content_type: str = "application/json") -> dict[str, Any]:
    return {"contentType": content_type, "payload": payload}


def _event_message(payload: Any, kind: str) -> dict[str, Any]:
    """Describe an event: its data, and of its headers those that say what it is."""
    headers = {"ce-type": {"const": kind}, "ce-id": {"type": "string"}}
    return {**_message(payload), "headers": {"type": "object", "properties": headers, "required": sorted(headers)}}


def _channel(address: str, message: str, row: Operation | None = None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "address": address,
        "messages": {message: {"$ref": _pointer("components", "messages", message)}},
    }
    if row is not None:
        out["description"] = f"In the stream {streams.EVENTS}; see subjects.md for each result's `ce-type`."
    parameters = re.findall(r"\{([a-z_]+)\}", address)
    if parameters:
        out["parameters"] = {name: {"description": "One token; see subjects.md."} for name in parameters}
    return out


def _answer(subject: str, row: Operation) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": _pointer("channels", subject)},
        "messages": [{"$ref": _pointer("channels", subject, "messages", f"{row.name}.request")}],
        "summary": row.summary,
        "bindings": {"nats": {"queue": QUEUE_GROUP, "bindingVersion": "0.1.0"}},
        "reply": {
            "channel": {"$ref": "#/channels/reply"},
            "messages": [{"$ref": _pointer("channels", "reply", "messages", name)} for name in _replies(row)],
        },
    }


def _replies(row: Operation) -> tuple[str, ...]:
    return (row.name, *((f"{row.name}.table",) if row.table else ()), "problem")


def _publish(template: str) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": _pointer("channels", template)}}


def _pointer(*parts: str) -> str:
    """Write a JSON pointer as a reference: URI-encoded, since event subjects hold braces."""
    return "#/" + "/".join(quote(part.replace("~", "~0").replace("/", "~1"), safe="") for part in parts)


def write(folder: Path = DOCS) -> None:
    """Write both documents."""
    folder.joinpath("subjects.md").write_text(subjects_page())
    folder.joinpath("asyncapi.json").write_text(json.dumps(asyncapi(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()
