"""The OpenAPI document, made from the operation table and the service routes; nothing in it is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts import frames
from contracts.examples import SYMBOLS, with_names
from contracts.operations import OPERATIONS, Operation, Route, Workload
from contracts.results import PlainAnswer, Problem
from contracts.tokens import Scope
from contracts.version import VERSION
from web.payload import TIMEOUT_HEADER
from web.problems import PROBLEM_JSON

REF = "#/components/schemas/{model}"
_PATH_FIELD = re.compile(r"{(\w+)}")

PROBLEMS = {
    "400": "The body is not what its content type says.",
    "401": "A token is required, or this one is not known.",
    "403": "The token does not cover this, or a page of another site asks.",
    "404": "No such model, factor or category.",
    "406": "The answer is not given in the form that was accepted, or is too large for JSON.",
    "408": "The caller's deadline passed.",
    "409": "Another writer committed first.",
    "410": "What is left of an answer is not kept any more.",
    "413": "The body is over the limit.",
    "415": "The content type is none that is read here.",
    "421": "The host that was asked for, or the engine, is another one.",
    "422": "A field or row is not acceptable; it is named.",
    "429": "A queue is full, or the token was used too often; Retry-After says when to ask again.",
    "499": "The caller has gone, so nobody reads this; statistics have it.",
    "500": "A defect of the engine; the log has it under the id given.",
    "503": "A component that the answer needs is down; it is named.",
}


@dataclass(frozen=True)
class ServiceRoute:
    """A route beside the operation table: about the service itself."""

    method: str
    path: str
    name: str
    summary: str
    media: str = "application/json"
    request: type[BaseModel] | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    scope: Scope = Scope.READ
    query: type[BaseModel] | None = None
    """Its fields are parameters: those that stand in the path, and the others in the query."""


def document(service_routes: Iterable[ServiceRoute], symbols: Sequence[str] = SYMBOLS) -> dict[str, Any]:
    """Give the OpenAPI 3.1 document.

    Parameters
    ----------
    service_routes
        The routes beside the operation table.
    symbols
        Names of the loaded model, for the examples.
    """
    service = list(service_routes)
    schemas = _Schemas(service)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS.values():
        for number, route in enumerate(operation.routes):
            shown = with_names(operation.example, symbols)
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(
                operation, route, number, schemas, shown
            )
    for row in service:
        paths.setdefault(row.path, {})[row.method.lower()] = _service(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Factor Engine",
            "version": VERSION,
            "description": "A Barra-style equity factor model and a library of factor definitions, in real time.",
        },
        "tags": [{"name": str(workload)} for workload in Workload] + [{"name": "service"}],
        "paths": paths,
        "components": {"schemas": schemas.definitions, "securitySchemes": SECURITY},
    }


SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "A token of the scope read, write or admin; each covers those before it. `python -m launch token add NAME "
            "--scope read` makes one. On loopback none is asked for while there are none."
        ),
    }
}


def _security(scope: Scope) -> list[dict[str, list[str]]]:
    """Say which token a route takes; without one it may be asked where none is required."""
    return [{"token": [scope.name.lower()]}, {}] if scope else []


class _Schemas:
    """The component schemas, and request bodies without the fields that a path gives."""

    def __init__(self, service: list[ServiceRoute]) -> None:
        requests: set[type[BaseModel]] = {operation.request for operation in OPERATIONS.values()}
        requests |= {row.request for row in service if row.request is not None}
        results = {operation.result for operation in OPERATIONS.values()} | {PlainAnswer, Problem}
        wanted = [(model, "validation") for model in requests] + [(model, "serialization") for model in results]
        wanted.sort(key=lambda pair: pair[0].__name__)
        _, definitions = models_json_schema(wanted, ref_template=REF)  # type: ignore[arg-type]
        self.definitions: dict[str, Any] = definitions["$defs"]

    def fields(self, operation: Operation) -> dict[str, Any]:
        """Give the request's fields."""
        return dict(self.definitions[operation.request.__name__].get("properties", {}))

    def body(self, operation: Operation, path_fields: set[str]) -> dict[str, Any]:
        """Refer to the request's schema; without `path_fields`, to one made for that."""
        name = operation.request.__name__
        if not path_fields:
            return {"$ref": REF.format(model=name)}
        made = f"{name}Body"
        whole = self.definitions[name]
        part = {**whole, "title": made}
        part["properties"] = {key: value for key, value in whole["properties"].items() if key not in path_fields}
        part["required"] = [key for key in whole.get("required", []) if key not in path_fields]
        if not part["required"]:
            del part["required"]
        self.definitions[made] = part
        return {"$ref": REF.format(model=made)}


def _operation(
    operation: Operation, route: Route, number: int, schemas: _Schemas, shown: Mapping[str, Any]
) -> dict[str, Any]:
    path_fields = set(_PATH_FIELD.findall(route.path))
    fields = schemas.fields(operation)
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": fields.pop(name, {"type": "string"}),
            "example": shown[name],
        }
        for name in sorted(path_fields)
    ]
    out: dict[str, Any] = {
        "operationId": operation.name if number == 0 else f"{operation.name}_{number + 1}",
        "summary": operation.summary,
        "description": f"Answered by `{operation.workload}`, lane {operation.lane}, within {operation.timeout_s:g} s.",
        "tags": [str(operation.workload)],
        "security": _security(operation.scope),
    }
    if route.method == "POST" or (route.method == "PUT" and not operation.bulk):
        schema = schemas.body(operation, path_fields)
        required = bool(_resolve(schema, schemas).get("required"))
        given = {name: value for name, value in shown.items() if name not in path_fields}
        body = {"schema": schema, "example": given}
        out["requestBody"] = {"required": required, "content": {"application/json": body}}
    else:
        parameters += _query(fields, skip={"feature_data"} if operation.bulk else set())
    if operation.bulk and route.method == "PUT":
        binary = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
        content = {frames.ARROW_STREAM: binary, frames.PARQUET: binary, frames.CSV: {"schema": {"type": "string"}}}
        out["requestBody"] = {"required": True, "content": content}
    out["parameters"] = [*parameters, _TIMEOUT]
    out["responses"] = _responses("application/json", {"$ref": REF.format(model=operation.result.__name__)})
    if operation.table:
        binary = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
        out["responses"]["200"]["content"][frames.ARROW_STREAM] = binary
    return out


def _resolve(schema: dict[str, Any], schemas: _Schemas) -> dict[str, Any]:
    resolved: dict[str, Any] = schemas.definitions[schema["$ref"].rpartition("/")[2]]
    return resolved


def _query(fields: dict[str, Any], skip: set[str]) -> list[dict[str, Any]]:
    """Give the fields as query parameters; objects and tables are JSON text there."""
    out: list[dict[str, Any]] = []
    for name, schema in fields.items():
        if name in skip or name in ("request_id", "sector_encodings"):
            continue
        row: dict[str, Any] = {"name": name, "in": "query", "required": False}
        if schema.get("type") == "object":
            row["content"] = {"application/json": {"schema": schema}}
        else:
            row["schema"] = schema
        out.append(row)
    return out


_TIMEOUT = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "The caller's deadline, seconds.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
}


def _responses(media: str, schema: dict[str, Any]) -> dict[str, Any]:
    problem = {PROBLEM_JSON: {"schema": {"$ref": REF.format(model="Problem")}}}
    out: dict[str, Any] = {"200": {"description": "The answer.", "content": {media: {"schema": schema}}}}
    return out | {code: {"description": text, "content": problem} for code, text in PROBLEMS.items()}


def _service(row: ServiceRoute) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"} if row.media == "application/json" else {"type": "string"}
    if row.request is not None:
        schema = {"$ref": REF.format(model="PlainAnswer")}
    out: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": ["service"],
        "security": _security(row.scope),
        "responses": _responses(row.media, schema),
    }
    if row.query is not None:
        fields = row.query.model_json_schema()
        out["parameters"] = [
            {
                "name": name,
                "in": "path" if f"{{{name}}}" in row.path else "query",
                "required": name in fields.get("required", ()),
                "description": schema.get("description", ""),
                "schema": {key: value for key, value in schema.items() if key not in ("description", "title")},
            }
            for name, schema in fields["properties"].items()
        ]
    if row.request is not None:
        body = {"schema": {"$ref": REF.format(model=row.request.__name__)}, "example": dict(row.example)}
        out["requestBody"] = {"required": False, "content": {"application/json": body}}
    return out
