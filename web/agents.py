"""``/mcp``: a few operations as tools for agents, over the Model Context Protocol (the extra `agents`).

The tools are the rows of the operation table that say so (`agents`), all of them reads, with the schemas of their
request models; and a search over the factor library. A call is answered as the row's HTTP route would answer it, and
made short enough to read: long tables keep their largest entries, and the answer says where the whole is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Asgi

from bus.answer_text import as_json
from contracts import tracing
from contracts.caller import Asked, asked
from contracts.errors import EngineError, InvalidInput, Unavailable, UnknownOperation
from contracts.json_text import read_json_text
from contracts.operations import OPERATIONS, Operation
from contracts.tokens import Scope
from contracts.version import VERSION
from contracts.work import new_id
from web.body import read_body
from web.callers import require
from web.problems import internal, problem_response
from web.services import Services

if TYPE_CHECKING:
    import mcp.types as t
    from mcp.server.context import ServerRequestContext

PATH = "/mcp"
SEARCH = "search_factors"
ROUTING = "explain_routing"
SUMMARIES = {
    SEARCH: "Find factors of the library by words: id, name, category, source and formula.",
    ROUTING: "Where each workload's actor runs, on which device, in which state, and why there.",
}
"""What the tools do that are no operations."""
ROUTING_S = 5.0
MOST = 30
"""Entries of a table, and rows of a list, that an answer keeps."""
FOUND = 20
MOST_BYTES = 4 * 2**20
"""Of a request's body; a call has the fields of a route, without its tables."""
HIDDEN = frozenset({"request_id", "messagebus_priority", "register_as", "html"})
"""Fields that make something durable, or that only programs use."""
QUIET = frozenset({"timings_ms", "calculation_id", "messagebus_published", "messagebus_queued"})
INSTRUCTIONS = (
    "A Barra-style equity factor model: exposures, risk and its sources, attribution, stress, and a library of factor "
    "formulas. Weights are shares of the book's value by symbol; returns and volatilities are fractions, daily unless "
    "the name ends in _annual. What is missing is null, never 0. Nothing here writes."
)


def available() -> bool:
    """Say whether the extra is installed."""
    try:
        import mcp.server.lowlevel  # noqa: F401
    except ImportError:
        return False
    return True


def tools() -> dict[str, dict[str, Any]]:
    """Give the JSON schema of each tool's arguments by name."""
    found = {row.name: _schema(row) for row in OPERATIONS.values() if row.agents}
    words = {"type": "string", "minLength": 1, "description": "Words of the id, the name, the source or the formula."}
    category = {"type": "string", "description": "Only of this category."}
    found[SEARCH] = {
        "type": "object",
        "properties": {"words": words, "category": category},
        "required": ["words"],
        "additionalProperties": False,
    }
    found[ROUTING] = {"type": "object", "properties": {}, "additionalProperties": False}
    return found


def _schema(row: Operation) -> dict[str, Any]:
    schema = row.request.model_json_schema()
    hidden = HIDDEN | set(row.frames)
    schema["properties"] = {name: about for name, about in schema["properties"].items() if name not in hidden}
    schema["required"] = [name for name in schema.get("required", []) if name not in hidden]
    schema.pop("description", None)
    return {**schema, "additionalProperties": False}


class Agents:
    """The protocol's server inside the HTTP face.

    Parameters
    ----------
    services
        What answers.
    """

    def __init__(self, services: Services) -> None:
        from mcp.server.lowlevel import Server
        from mcp.server.transport_security import TransportSecuritySettings

        self._services = services
        self._schemas = tools()
        self._running = False
        self._server: Any = Server(
            "factor-engine",
            version=VERSION,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        # The doors before this have looked at host and origin already, by the engine's own lists.
        trusting = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        self._app: ASGIApp = self._server.streamable_http_app(
            streamable_http_path="/", stateless_http=True, json_response=True, transport_security=trusting
        )

    def route(self) -> Route:
        """Give the route."""
        return Route(PATH, endpoint=_Door(self), name="mcp", methods=["POST"])

    async def answer(self, scope: Asgi, receive: Receive, send: Send) -> None:
        """Answer a request of the protocol.

        Raises
        ------
        Unavailable
            Outside of `running`.
        UnsupportedMedia, BodyTooLarge, MalformedBody
            The body is no JSON within the bounds of every other route.
        """
        if not self._running:
            raise Unavailable("the face for agents is not started", retry_after_s=1.0)
        body = await read_body(Request(scope, receive), MOST_BYTES)
        # The protocol's library takes the last of two equal keys, and goes as deep as a body does.
        await asyncio.to_thread(read_json_text, body)
        whole = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return whole.pop() if whole else await receive()

        await self._app({**scope, "path": "/", "root_path": "", "raw_path": b"/"}, again, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        async with self._server.session_manager.run():
            self._running = True
            try:
                yield
            finally:
                self._running = False

    async def _list(self, _context: ServerRequestContext[Any], _params: Any) -> t.ListToolsResult:
        import mcp.types as t

        reads = t.ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
        about = {name: row.summary for name, row in OPERATIONS.items()} | SUMMARIES
        return t.ListToolsResult(
            tools=[
                t.Tool(name=name, description=about[name], input_schema=schema, annotations=reads)
                for name, schema in self._schemas.items()
            ]
        )

    async def _call(self, _context: ServerRequestContext[Any], params: t.CallToolRequestParams) -> t.CallToolResult:
        try:
            answer = await self._answer(params.name, dict(params.arguments or {}))
        except EngineError as error:
            return self._said(error.to_problem(), wrong=True)
        except Exception as error:  # noqa: BLE001  # the border: no traceback reaches a caller
            return self._said(internal(error).to_problem(), wrong=True)
        return self._said(answer, wrong=False)

    def _said(self, body: Any, *, wrong: bool) -> t.CallToolResult:
        import mcp.types as t

        text = json.dumps(body, default=str, separators=(",", ":"))
        return t.CallToolResult(content=[t.TextContent(type="text", text=text)], is_error=wrong)

    async def _answer(self, name: str, given: dict[str, Any]) -> Any:
        schema = self._schemas.get(name)
        if schema is None:
            raise UnknownOperation(f"there is no tool {name!r}; there are {', '.join(self._schemas)}", field="name")
        strange = sorted(set(given) - set(schema["properties"]))
        if strange:
            raise InvalidInput(f"{name} does not take {', '.join(strange)}", field=strange[0])
        face = self._services.need_face()
        if name == SEARCH:
            page = orjson.loads(as_json(await face.answer(OPERATIONS["definitions"], {})))
            return search(page, *_sought(page, given))
        if name == ROUTING:
            assert self._services.client is not None, "a face has a client"
            async with asyncio.timeout(ROUTING_S):
                table = await self._services.client.routing()
            return short(orjson.loads(as_json(table)), "GET /routing")
        row = OPERATIONS[name]
        # Through JSON, as values of many names are arrays inside the engine.
        answer = orjson.loads(as_json(await face.answer(row, face.read(row, given))))
        return short(answer, where(row, given))


def _sought(page: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str | None]:
    """Read what a search is for: its words and, where it is given, a category that there is."""
    words, category = given.get("words"), given.get("category")
    if not isinstance(words, str) or not words.strip():
        raise InvalidInput(f"{SEARCH} needs words to look for", field="words")
    known = sorted({str(one.get("category")) for one in page.get("definitions", [])})
    if category is not None and category not in known:
        raise InvalidInput(f"there is no category {category!r}; there are {', '.join(known)}", field="category")
    return words, category


def where(row: Operation, given: Mapping[str, Any]) -> str:
    """Say how to have the whole answer."""
    path = row.routes[0].path
    for name, value in given.items():
        path = path.replace(f"{{{name}}}", str(value))
    return f"{row.routes[0].method} {path} with the same fields"


def short(answer: Any, whole: str) -> Any:
    """Cut long tables; what was cut says how much, and the answer says where the whole is."""
    cut: list[str] = []

    def shorter(value: Any, path: str) -> Any:
        if isinstance(value, dict):
            kept = {name: one for name, one in value.items() if name not in QUIET}
            if len(kept) > MOST:
                cut.append(f"{path}: {MOST} of {len(kept)}")
                if all(isinstance(one, int | float) or one is None for one in kept.values()):
                    ordered = sorted(kept.items(), key=lambda pair: -abs(pair[1] or 0.0))
                    kept = dict(ordered[:MOST])
                else:
                    kept = dict(list(kept.items())[:MOST])
            return {name: shorter(one, f"{path}.{name}" if path else name) for name, one in kept.items()}
        if isinstance(value, list):
            if len(value) > MOST:
                cut.append(f"{path}: the last {MOST} of {len(value)}")
            return [shorter(one, path) for one in value[-MOST:]]
        if not isinstance(value, float) or abs(value) >= 1e15:
            return value
        # A time in seconds has ten digits before the point: six of them would be another time.
        return float(f"{value:.6g}") if abs(value) < 1e6 else float(round(value))

    made = shorter(answer, "")
    if cut and isinstance(made, dict):
        made["shortened"] = {"what": cut, "whole": whole}
    return made


def search(page: Mapping[str, Any], words: str, category: str | None) -> dict[str, Any]:
    """Give the definitions that have all the words, the shortest id first."""
    asked = words.lower().split()
    found = []
    for one in page.get("definitions", []):
        if category is not None and one.get("category") != category:
            continue
        text = json.dumps(one, default=str).lower()
        if all(word in text for word in asked):
            found.append(one)
    found.sort(key=lambda one: (not any(word in str(one.get("id", "")) for word in asked), len(str(one.get("id", "")))))
    return {"found": len(found), "factors": found[:FOUND]}


class _Door:
    """Lets in whose token may read, and hands on to the protocol's application."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def __call__(self, scope: Asgi, receive: Receive, send: Send) -> None:
        """Answer a request of the protocol."""
        asked.set(Asked(new_id()))
        parent = Headers(scope=scope).get(tracing.HEADER, "") if tracing.on() else ""
        try:
            with tracing.span("mcp", tracing.SERVER, parent):
                require(scope, Scope.READ)
                await self._agents.answer(scope, receive, send)
        except EngineError as error:
            await problem_response(error, PATH)(scope, receive, send)
