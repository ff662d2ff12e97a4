"""The engine in words for those who read before they ask: ``/llms.txt``, and ``/model.md``, the loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bus.answer_text import as_json
from contracts.errors import EngineError
from contracts.operations import OPERATIONS
from contracts.tokens import Scope
from contracts.version import VERSION
from web.agents import PATH, SUMMARIES, available, tools
from web.problems import guarded
from web.services import Face, Services

MARKDOWN = "text/markdown; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"


def described_routes(services: Services) -> Iterator[Route]:
    """Give both routes."""

    async def words(_request: Request) -> Response:
        return Response(llms_text(), media_type=PLAIN)

    async def model(_request: Request) -> Response:
        return Response(await model_text(services), media_type=MARKDOWN)

    yield Route("/llms.txt", guarded(words, services, "llms", Scope.NONE), methods=["GET"], name="llms")
    yield Route("/model.md", guarded(model, services, "model_md", Scope.READ), methods=["GET"], name="model_md")


def llms_text() -> str:
    """Give what there is, in a page of words."""
    lines = [
        "# Factor Engine",
        "",
        f"> A Barra-style equity factor model in real time, version {VERSION}: exposures, risk and its sources,",
        "> attribution, stress, optimisation, and a library of factor formulas. Weights are shares of a book's value.",
        "",
        "- [OpenAPI](/openapi.json): every operation with an example that works",
        "- [The loaded model](/model.md): what it is made of, its settings, its data",
        "- [Health](/health): every part, and what is not well",
    ]
    if available():
        lines += ["", f"## Tools, over the Model Context Protocol at {PATH}", ""]
        lines += [f"- {name}: {SUMMARIES[name] if name in SUMMARIES else OPERATIONS[name].summary}" for name in tools()]
    lines += ["", "## Reads over HTTP", ""]
    lines += [
        f"- {row.routes[0].method} {row.routes[0].path}: {row.summary}"
        for row in OPERATIONS.values()
        if row.routes and not row.writes
    ]
    return "\n".join(lines) + "\n"


async def model_text(services: Services) -> str:
    """Give the default model in words and figures: dates, names, factors, what is odd in its data, its settings."""
    face = services.need_face()
    model_id = face.default_model
    if model_id is None:
        return "# No model\n\nNo model is loaded. `PUT /factor-model/{model_id}/data` makes one of a table.\n"
    asked = {"model_id": model_id}
    status, quality = [
        orjson.loads(as_json(await face.answer(OPERATIONS[name], asked))) for name in ("model_status", "model_quality")
    ]
    parts = [
        f"# The model {model_id}, version {status['model_version']}",
        "",
        f"{status['n_dates']} dates from {status['first_date']} to {status['last_date']}, {status['n_assets']} names.",
        "A cross-sectional regression each day gives the returns of its factors; their covariance and each name's",
        "specific risk give a book's risk.",
        "",
        f"* Factors: {', '.join(status['factors'])}.",
        f"* Styles: {', '.join(status.get('styles', []))}.",
        f"* Made by: {status['operation']}, {status['created_at']}.",
        "",
        "## What is odd in its data",
        "",
        *_findings(quality),
        "",
        "## How good its forecasts were",
        "",
        *await _validation(face, model_id),
        "",
        "## Its settings",
        "",
        "```json",
        orjson.dumps(status.get("settings", {}), option=orjson.OPT_INDENT_2).decode(),
        "```",
        "",
        "More tests of its forecasts: docs/validation.md of the project, and `make validate` for this data.",
    ]
    return "\n".join(parts) + "\n"


async def _validation(face: Face, model_id: str) -> list[str]:
    """Say what the model's risk of its own market was worth, day by day over the last year."""
    asked = {"model_id": model_id, "portfolio_id": "market"}
    try:
        told = orjson.loads(as_json(await face.answer(OPERATIONS["risk_history"], asked)))
    except EngineError as error:
        return [f"It cannot be said: {error.detail}"]
    found = told["calculation_result"]
    values = found["factor_values"]
    days = values["dates"]
    lines = [
        f"The market as a book, {len(days)} days from {days[0]} to {days[-1]}: the risk that was predicted at each",
        "close, beside the return of the next day.",
        "",
    ]
    if values["bias"] is not None:
        lines.append(
            f"* Bias {values['bias']:.3f}: realised by predicted volatility. 1 is right, more was understated."
        )
    if values["value_at_risk_exceeded_share"] is not None:
        share, wanted = values["value_at_risk_exceeded_share"], 1.0 - found["confidence"]
        lines.append(f"* The loss was beyond the value at risk on {share:.1%} of the days; {wanted:.1%} is right.")
    return lines


def _findings(quality: dict[str, Any]) -> list[str]:
    lines = [f"* {one['severity']}: {one['line']}. {one['effect']}." for one in quality["findings"]]
    return lines or ["Nothing that the checks look for."]
