"""docs/api.md from the operation table, and the settings in docs/operations.md: ``python -m web.document``."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bus import answer_form
from bus.reader import INLINE_BYTES
from contracts import frames
from contracts.errors import BY_CODE
from contracts.operations import OPERATIONS, Operation, Route
from contracts.settings import RETIRED_SWITCHES, Settings
from factors.factor_model.settings import ModelSettings
from web import body, payload
from web.openapi import PROBLEMS
from web.service import ROUTES

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "api.md"
OPERATIONS_PAGE = DOCS / "operations.md"
SETTINGS_BEGIN, SETTINGS_END = "<!-- settings -->\n", "<!-- /settings -->"
MIB = 2**20
_PATH_FIELD = re.compile(r"{(\w+)}")
_DEFAULT = {name: field.default for name, field in Settings.model_fields.items()}

INTRO = f"""\
# HTTP

For whoever talks to the engine over HTTP. After this page you can ask each operation, send a table, set a deadline, and
read an error. [clients.md](clients.md) has a whole example.

Written by `python -m web.document` from the operation table; a test compares. As a machine reads it: `GET /openapi.json`;
to try by hand: `/docs`. The face listens on `http://127.0.0.1:8300` unless told otherwise
([operations.md](operations.md)); the same operations over NATS are in [subjects.md](subjects.md).

## Requests

A request is a JSON object (`application/json`; at most {_DEFAULT["http_json_limit_bytes"] // MIB} MiB). Fields in the
path count as fields of the request; fields may come in the query as well, where the body overrides them. A field
that is not known does nothing and is named in the answer (`ignored_fields`), as is one that does nothing beside the others
(`risk_aversion` without alpha); one that is nearly a known one is an error that says which was meant. Where `model_id` may be left out, the default model is meant: the one loaded at start.

A table is `{{"columns": [...], "data": [[...], ...]}}` with rows, `{{"column": [...], ...}}`, a list of row objects, or what
pandas' `to_json` writes (every `orient` but `values`). In bulk
it is the body of `PUT /factor-model/{{model_id}}/data`, as `{frames.ARROW_STREAM}`,
`{frames.PARQUET}` or `{frames.CSV}`, at most {_DEFAULT["http_bulk_limit_bytes"] // 2**30} GiB, with the other fields in the query; above
{INLINE_BYTES // 1024} KiB the writer's node must see the run directory of the face's. A null sector is the
sector `Unknown`; null and NaN are missing; an infinite return or cap is an error. Dates are ISO 8601; what else a table may be
called and written is said in `settings.intake` ([model.md](model.md)), for instance
`?settings={{"intake":{{"date_format":"%m/%d/%Y"}}}}` of the bulk route.

| header | meaning |
|---|---|
| `{payload.TIMEOUT_HEADER}` | deadline, seconds, up to {payload.MAX_TIMEOUT_S:g}; default: the operation's. Below about 0.1 s Serve itself may answer the 408, in plain text |
| `Idempotency-Key` | repeat it to repeat a write safely: the same key gives the same version; the field `request_id` does the same |
| `authorization` | `Bearer <token>`, where tokens are required ([security.md](security.md)); the scope of each route stands below |
| `accept` | `{frames.ARROW_STREAM}`: the answer as one Arrow table, where it is one ("Arrow" in the routes below) |
| `x-request-id` | taken over into the answer's header; made when missing |

`messagebus_priority` (low, normal, high, urgent, critical) orders requests in the queues and messages on the bus.

## Answers

A calculation answers `{{"success", "message", "calculation_result"}}`, an operation that makes a version adds `model_id` and
`model_version`. In `calculation_result`:

| field | meaning |
|---|---|
| `calculation_id`, `factor_type`, `model_version` | what was computed, on which version |
| `factor_values` (exposures: `factor_exposures`) | the values |
| `calculation_time_ms` | time in the actor's kernel and around it |
| `hardware_used` | the device that ran it: `cpu`, `metal_gpu`, `neural_engine` |
| `confidence_score` | `coverage * n / (n + k)`: the share of the input that the result covers, times the share that n observations keep when k parameters are estimated from them (`actors/reading/confidence.py`) |
| `messagebus_published` | NATS is connected and the event is in the outbox; otherwise `messagebus_queued` tells that it waits there |
| `timings_ms` | `queue`, `compute`, `dispatch` (the way there and back), `publish`; of a write also `decode` (the posted table) and `commit` (making it durable) |

### As an Arrow table

An answer that is a table comes as one Arrow IPC stream to whoever asks with `accept: {frames.ARROW_STREAM}`: a row for each
name, date or factor, a missing number as null. What the answer says beside its values is JSON in the header
`{answer_form.ANSWER_HEADER}`, at most {answer_form.HEADER_BYTES:,} characters; what does not fit is named in `left_out`, and the same
request without `accept` has it. As JSON an answer has at most {answer_form.JSON_VALUES_MOST:,} values: a larger one is the error
`not_acceptable` (406), which says this. Of another operation than those `accept` with nothing but Arrow is 406 too.

## Errors

A problem document (RFC 9457, `application/problem+json`): `type`, `title`, `status`, `code`, `detail`, `retryable`, and where
they help `field`, `rows` (at most 20), `retry_after_s` (also the header `Retry-After`) and `instance`.
A body over the limit is read on and dropped up to {body.DISCARD_LIMIT_BYTES // MIB} MiB more, so that the refusal can be read.
"""

LIBRARY = """\
## Forms of a library factor

Calculate, results, categories (with `symbol`) and cross-section give each factor of a date in five forms:

| form | is |
|---|---|
| raw | the value (`factor_values`; `raw` in a cross-section) |
| `winsorised` | clipped at `winsor_deviations` deviations from the date's mean; the limits are in `winsor_limits` |
| `zscore` | of the winsorised values: mean 0, deviation 1 over the names |
| `neutralised` | the z-score less the mean of the name's group; `neutralised_by` names the level |
| `rank` | in (0, 1]: the share of names at or below, ties averaged |

`date_requested` may be any date of the model. The newest date comes from the model's live library, which `/health` shows
under the actor `factor_library` (`live_models`: how far a warm-up is, the date, the steps taken); an earlier one is
computed over the look-back of each factor. While a first warm-up runs longer than a request waits, the answer is 503
`unavailable` with how far it is. Results never compute.
"""


def page() -> str:
    """Give the whole page."""
    return f"{INTRO}\n{_problems()}\n{_routes()}\n{LIBRARY}\n{_service()}\n{_websocket()}\n{_model_settings()}"


def _problems() -> str:
    rows = ["| status | code | meaning |", "|---|---|---|"]
    for code, kind in sorted(BY_CODE.items(), key=lambda pair: (pair[1].status, pair[0])):
        meaning = (kind.__doc__ or "").strip().splitlines()[0]
        rows.append(f"| {kind.status} | `{code}` | {meaning} |")
    missing = {str(kind.status) for kind in BY_CODE.values()} - set(PROBLEMS)
    assert not missing, f"OpenAPI does not describe {missing}"
    return "\n".join(
        [*rows, "| 404 | `unknown_route` | No such route. |", "| 405 | `method_not_allowed` | Wrong method. |", ""]
    )


def _routes() -> str:
    lines = [
        "## Routes of operations",
        "",
        "Each is answered by the actor of its workload. Required fields are **bold**; defaults are in `/docs`.",
        "",
        "| route | operation | fields | scope | lane | deadline | Arrow |",
        "|---|---|---|---|---|---|---|",
    ]
    for operation in OPERATIONS.values():
        for number, route in enumerate(operation.routes):
            same = f"as `{operation.routes[0].path}`" if number else _fields(operation, route)
            scope = operation.scope.name.lower()
            lane, deadline = operation.lane.value, f"{operation.timeout_s:g} s"
            cells = (f"`{route.method} {route.path}`", operation.name, same, scope, lane, deadline)
            lines.append(f"| {' | '.join(cells)} | {'yes' if operation.table else ''} |")
    return "\n".join([*lines, ""])


def _fields(operation: Operation, route: Route) -> str:
    in_path = set(_PATH_FIELD.findall(route.path))
    skip = in_path | {"request_id", "messagebus_priority"}
    if route.method == "PUT":
        skip |= {"feature_data"}
    fields = operation.request.model_fields
    names = [f"**{name}**" if field.is_required() else name for name, field in fields.items() if name not in skip]
    return ", ".join(names) or "none"


def _service() -> str:
    lines = ["## Routes about the service", "", "| route | what it gives | scope |", "|---|---|---|"]
    lines += [f"| `{row.method} {row.path}` | {row.summary} | {row.scope.name.lower()} |" for row in ROUTES]
    return "\n".join([*lines, ""])


def _websocket() -> str:
    return """\
## Events as they happen

`WS /ws/factors` sends every event of the bus as a JSON object (`seq`, `id`, `subject`, `type`, `time`, `priority`,
`content_type`, `data`; bytes that are no JSON come in base64 with `encoding`), `?subject=factor.risk_model` those whose
subject begins so. It needs the scope `read`; a page in a browser, which can set no header here, offers the protocols
`factor-engine, bearer.<token>`. `?watch={watch_id}` sends that watch's values instead ([live.md](live.md)): JSON as text, a
table as bytes behind a text with its headers; a slow reader gets the newest. With `?pace_ms=500` at most the newest 100 events
come twice a second, for whoever only looks on: others are not made to wait for it. A reader of events that is too slow skips events and gets `{"missed": n}`; while the bridge is away it gets
`{"state": "DEGRADED", "reason": ...}`.
"""


def _model_settings() -> str:
    plain = json.dumps(ModelSettings().to_dict(), indent=2)
    return f"""\
## Settings of a model

`settings` of `POST /factor-model/create` is an object with any of these; what is left out has the value shown. What they
mean is in `factors/factor_model/settings.py` and [risk.md](risk.md).

```json
{plain}
```
"""


def operations_page() -> str:
    """Give docs/operations.md with the settings as they are now."""
    before, _, rest = OPERATIONS_PAGE.read_text().partition(SETTINGS_BEGIN)
    _, _, after = rest.partition(SETTINGS_END)
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = field.default
        shown = "" if value is None else ",".join(value) if isinstance(value, tuple) else str(value)
        lines.append(f"| `FACTOR_ENGINE_{name.upper()}` | {f'`{shown}`' if shown else 'none'} | {field.description} |")
    lines += [f"| `{name}` | | Accepted, has no effect: {why}. |" for name, why in RETIRED_SWITCHES.items()]
    return before + SETTINGS_BEGIN + "\n" + "\n".join(lines) + "\n\n" + SETTINGS_END + after


def write() -> None:
    """Write both pages."""
    PAGE.write_text(page())
    OPERATIONS_PAGE.write_text(operations_page())


if __name__ == "__main__":
    write()
