"""The HTTP client: typed requests, bulk data, and the engine's own pages."""

from __future__ import annotations

import os
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

from clients.answers import ModelAnswer
from clients.methods import Surface
from clients.surface import ANSWER_HEADER, ANYHOW, How, TableAnswer, as_object, wait_s
from contracts.errors import DeadlineExceeded, EngineError, InternalError, InvalidInput, Unavailable, WrongEngine
from contracts.frames import ARROW_STREAM
from contracts.identity import ENGINE_HEADER
from contracts.operations import OPERATIONS, Operation

TIMEOUT_HEADER = "x-request-timeout-seconds"
REQUEST_ID_HEADER = "idempotency-key"
CONNECT_S = 5.0
_OF_THE_PROXY: dict[int, type[EngineError]] = {
    408: DeadlineExceeded,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def address(url: str) -> httpx.URL:
    """Read the address of an engine.

    Raises
    ------
    InvalidInput
        It is none that HTTP goes to.
    """
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{url!r} is no address of an engine: {error}", field="url") from None
    if read.scheme not in ("http", "https") or not read.host:
        raise InvalidInput(f"{url!r} is no address of an engine, such as http://127.0.0.1:8300", field="url")
    return read


def _bearer(token: str) -> str:
    """Write a token as a header; one that no header can carry is not shown, as it is a secret."""
    if not (token.isascii() and token.isprintable()) or token != token.strip():
        raise InvalidInput(
            "the token (FACTOR_ENGINE_TOKEN) has a blank at an end, a line's end, or a letter that no header carries",
            field="token",
        )
    return f"Bearer {token}"


def _in_path(name: str, value: object) -> str:
    """Write a field as one part of a path."""
    text = str(value)
    if not text or "/" in text or text in (".", ".."):
        raise InvalidInput(f"{name} is a name without a slash, not {text!r}", field=name)
    return quote(text, safe="")


class HttpEngine(Surface):
    """A connection to the engine over HTTP; use it as an asynchronous context manager.

    Parameters
    ----------
    url : str
        Where the engine listens.
    engine_id : str, optional
        The only engine that may answer; default: the one that answers first. Behind an address that changed hands
        another engine refuses the requests, and an answer of anybody else is not taken (`WrongEngine`).
    token : str, optional
        Sent as the bearer token; default: ``FACTOR_ENGINE_TOKEN`` of the environment, if it is there.
    options
        Further options of ``httpx.AsyncClient``.

    Attributes
    ----------
    engine_id : str or None
        The engine that this client talks to, once it is known.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8300",
        engine_id: str | None = None,
        token: str | None = None,
        **options: Any,
    ) -> None:
        self._client = httpx.AsyncClient(base_url=address(url), **options)
        token = token or os.environ.get("FACTOR_ENGINE_TOKEN")
        if token:
            self._client.headers["authorization"] = _bearer(token)
        self.engine_id = engine_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, operation: Operation, body: dict[str, Any], how: How) -> dict[str, Any]:
        """Send a request and give the answer as it came; raises the `EngineError` that the engine answered with."""
        return as_object(_read(await self._sent(operation, body, how, {})))

    async def send_for_table(self, operation: Operation, body: dict[str, Any], how: How) -> TableAnswer:
        """Do one operation and give its answer as a table, as it came."""
        response = await self._sent(operation, body, how, {"accept": ARROW_STREAM})
        if response.is_error or ANSWER_HEADER not in response.headers:
            _read(response)
            raise InternalError("the engine answered with something else than a table")
        return TableAnswer(response.content, orjson.loads(response.headers[ANSWER_HEADER]))

    async def _sent(
        self, operation: Operation, body: dict[str, Any], how: How, headers: dict[str, str]
    ) -> httpx.Response:
        if how.priority is not None:
            body = {**body, "messagebus_priority": how.priority}
        method, path = operation.routes[0].method, operation.routes[0].path
        for name in [name for name in body if f"{{{name}}}" in path]:
            path = path.replace(f"{{{name}}}", _in_path(name, body[name]))
            body = {key: value for key, value in body.items() if key != name}
        if method in ("GET", "DELETE"):
            return await self._response(method, path, how, params=body, headers=headers)
        headers = {**headers, "content-type": "application/json"}
        return await self._response(method, path, how, content=orjson.dumps(body), headers=headers)

    async def put_data(
        self,
        model_id: str,
        table: bytes,
        content_type: str = ARROW_STREAM,
        how: How = ANYHOW,
        **fields: Any,
    ) -> ModelAnswer:
        """Create a model from a bulk table.

        Parameters
        ----------
        model_id : str
            The model, or the model that gets a new version.
        table : bytes
            An Arrow IPC stream (see ``contracts.frames.encode``), a Parquet file or a CSV.
        content_type : str
            Which of them.
        fields
            Further fields of `contracts.requests.CreateModel`: ``intake``, ``settings``, ``symbol_col``, ...
        """
        params = {
            name: orjson.dumps(value).decode() if isinstance(value, dict) else value for name, value in fields.items()
        }
        answer = await self._request(
            "PUT",
            f"/factor-model/{_in_path('model_id', model_id)}/data",
            how,
            content=table,
            headers={"content-type": content_type},
            params=params,
        )
        return ModelAnswer.model_validate(answer).of(OPERATIONS["put_data"])

    async def health(self) -> dict[str, Any]:
        """Give the page ``/health``."""
        return as_object(await self._request("GET", "/health", ANYHOW))

    async def set_bus_mode(self, mode: str) -> dict[str, Any]:
        """Have the message bus do nothing (``off``), publish events only (``publish``), or everything (``full``)."""
        content = orjson.dumps({"mode": mode})
        headers = {"content-type": "application/json"}
        return as_object(await self._request("PUT", "/messagebus/mode", ANYHOW, content=content, headers=headers))

    async def dead_letters(self, after: int = 0, limit: int = 50) -> dict[str, Any]:
        """List durable messages that could not be computed, from behind number `after`."""
        asked = {"after": after, "limit": limit}
        return as_object(await self._request("GET", "/messagebus/dead-letters", ANYHOW, params=asked))

    async def dead_letter(self, letter_id: int) -> dict[str, Any]:
        """Read one of them whole."""
        return as_object(await self._request("GET", f"/messagebus/dead-letters/{letter_id}", ANYHOW))

    async def resend_dead_letter(self, letter_id: int) -> dict[str, Any]:
        """Send one of them again where it came from; the letter is gone then."""
        return as_object(await self._request("POST", f"/messagebus/dead-letters/{letter_id}/resend", ANYHOW))

    async def stored_events(self, after: int = 0, subject: str = "factor.>", limit: int = 100) -> dict[str, Any]:
        """Give stored events behind place `after` of the stream; keep ``last`` and ask with it next."""
        asked = {"after": after, "subject": subject, "limit": limit}
        return as_object(await self._request("GET", "/messagebus/events", ANYHOW, params=asked))

    async def get(self, path: str) -> Any:
        """Give any page that answers with JSON (``/performance-metrics``, ``/routing``, ...)."""
        return await self._request("GET", path, ANYHOW)

    async def _request(self, method: str, path: str, how: How, **options: Any) -> Any:
        return _read(await self._response(method, path, how, **options))

    async def _response(
        self, method: str, path: str, how: How, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        self._stays(path)
        sent = dict(headers or {})
        if how.timeout_s is not None:
            sent[TIMEOUT_HEADER] = f"{how.timeout_s:g}"
        if how.request_id is not None:
            sent[REQUEST_ID_HEADER] = how.request_id
        if self.engine_id is not None:
            sent[ENGINE_HEADER] = self.engine_id
        limit = httpx.Timeout(wait_s(how), connect=CONNECT_S)
        try:
            response = await self._client.request(method, path, headers=sent, timeout=limit, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unavailable(f"the engine at {self._client.base_url} cannot be reached: {error}") from None
        except httpx.TimeoutException:
            raise DeadlineExceeded(f"no reply to {method} {path} within {wait_s(how):g} s") from None
        except httpx.TransportError as error:
            raise Unavailable(f"the connection to the engine broke: {error}", retry_after_s=1.0) from None
        self._check(response)
        return response

    @staticmethod
    def _stays(path: str) -> None:
        """Refuse the address of another host, which would be given the token."""
        try:
            away = httpx.URL(path).is_absolute_url
        except httpx.InvalidURL as error:
            raise InvalidInput(f"{path!r} is no path: {error}", field="path") from None
        if away:
            raise InvalidInput(f"{path!r} is of another host; a path of the engine begins with /", field="path")

    def _check(self, response: httpx.Response) -> None:
        """Take the answers of one engine only; what a proxy says by itself is nobody's."""
        answered = response.headers.get(ENGINE_HEADER)
        if self.engine_id is None:
            self.engine_id = answered
        if answered != self.engine_id and (answered is not None or response.is_success):
            who = f"engine {answered}" if answered is not None else "something that is no factor engine"
            raise WrongEngine(f"{who} answered at {self._client.base_url}, not engine {self.engine_id}")


def _read(response: httpx.Response) -> Any:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        if ENGINE_HEADER in response.headers:
            of = response.headers.get("content-type", "").partition(";")[0] or "nothing"
            asked = f"{response.request.method} {response.request.url.path}"
            raise InternalError(f"{asked} is answered with {of} (HTTP {response.status_code}), not with JSON") from None
        # Serve and its proxy answer in plain text when the engine behind them could not.
        kind = _OF_THE_PROXY.get(response.status_code, InternalError)
        raise kind(f"HTTP {response.status_code} from the proxy, not from the engine") from None
    if response.is_error:
        raise EngineError.from_problem(body)
    return body
