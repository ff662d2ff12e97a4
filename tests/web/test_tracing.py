"""Traces of requests over the real actors in this process, and log lines that are followed by a request's id."""

import io
import json
import logging
import re
import secrets
from urllib.parse import quote

import pytest
from otlp_receiver import receiving

from contracts import logs, tracing
from contracts.settings import Settings

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `tracing` is not installed")
RECORDED, NOT_RECORDED = "01", "00"


@pytest.fixture(scope="module")
def receiver(http, run_settings):
    with receiving() as found:
        tracing.begin("http", run_settings.model_copy(update={"traces": found.url}))
        try:
            yield found
        finally:
            tracing.end()


def caller(flags=RECORDED):
    """Give a trace, and the header of a span in it."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-{flags}"


def named(spans):
    return {span.name: span for span in spans}


def risk(http, symbols, **headers):
    return http.post("/portfolio-risk/calculate", json={"portfolio_weights": {symbols[0]: 1.0}}, headers=headers)


def test_one_request_is_one_trace_from_the_callers_span_to_the_actor(receiver, http, symbols):
    trace, above, header = caller()
    answer = risk(http, symbols, traceparent=header)
    assert answer.status_code == 200
    wanted = {"portfolio_risk", "compute portfolio_risk"}
    spans = named(receiver.of(trace, lambda found: wanted <= set(named(found))))
    face, actor = spans["portfolio_risk"], spans["compute portfolio_risk"]
    assert face.parent == above
    assert actor.parent == face.id
    assert not face.failed
    assert face.attributes["http.response.status_code"] == 200
    assert face.attributes["factor_engine.request_id"] == answer.headers["factor-request-id"]
    assert actor.attributes["factor_engine.request_id"] == answer.headers["factor-request-id"]
    assert actor.attributes["factor_engine.batch"] == 1
    assert actor.attributes["factor_engine.before_ms"] >= 0
    assert receiver.paths == {tracing.PATH}


def test_a_request_without_a_trace_begins_one(receiver, http, symbols):
    identity = risk(http, symbols).headers["factor-request-id"]
    mine = {}

    def there(_):
        mine.update(
            {span.name: span for span in receiver.spans if span.attributes.get("factor_engine.request_id") == identity}
        )
        return {"portfolio_risk", "compute portfolio_risk"} <= set(mine)

    receiver.of("", there)
    assert mine["portfolio_risk"].parent == ""
    assert mine["compute portfolio_risk"].trace == mine["portfolio_risk"].trace


def test_what_the_caller_does_not_record_is_not_recorded(receiver, http, symbols):
    silent, _, header = caller(NOT_RECORDED)
    assert risk(http, symbols, traceparent=header).status_code == 200
    trace, _, header = caller()
    assert risk(http, symbols, traceparent=header).status_code == 200
    receiver.of(trace, lambda found: len(found) >= 2)  # spans go in their order: the silent ones would have come before
    assert [span for span in receiver.spans if span.trace == silent] == []


def test_a_header_that_is_none_begins_a_trace_and_harms_nothing(receiver, http, symbols):
    for header in ("", "00-zz-11-01", "x" * 5000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        assert risk(http, symbols, traceparent=header).status_code == 200


def test_a_callers_mistake_is_named_and_is_no_error_of_the_service(receiver, http):
    trace, _, header = caller()
    http.post("/portfolio-risk/calculate", json={"portfolio_weights": {"NOBODY": 1.0}}, headers={"traceparent": header})
    spans = named(receiver.of(trace, lambda found: len(found) >= 2))
    assert {span.attributes["error.type"] for span in spans.values() if "error.type" in span.attributes} == {
        "unknown_symbol"
    }
    assert not any(span.failed for span in spans.values())


def test_a_write_shows_its_commit(receiver, http, symbols):
    trace, _, header = caller()
    made = http.put(
        "/portfolios/traced", json={"holdings": {"always": {symbols[0]: 1.0}}}, headers={"traceparent": header}
    )
    assert made.status_code == 200, made.text
    spans = named(receiver.of(trace, lambda found: {"compute put_portfolio", "store commit"} <= set(named(found))))
    assert spans["store commit"].parent == spans["compute put_portfolio"].id
    http.delete("/portfolios/traced")


def test_without_a_setting_nothing_is_sent_and_nothing_is_imported(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from contracts import tracing; from contracts.settings import Settings; from pathlib import Path\n"
        f"tracing.begin('http', Settings(run_dir=Path({str(tmp_path)!r})))\n"
        "with tracing.span('x') as span: assert span is None\n"
        "assert not tracing.on() and not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    own = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_address_with_a_log_in_is_refused():
    with pytest.raises(ValueError, match="traces"):
        Settings(traces="http://me:secret@127.0.0.1:4318")
    assert tracing._endpoint("http://127.0.0.1:4318/") == "http://127.0.0.1:4318/v1/traces"
    assert tracing._endpoint("https://host/otlp/v1/traces") == "https://host/otlp/v1/traces"


@pytest.fixture
def written(http, run_settings):
    """Have log lines as JSON, of every request; gives where they are written."""
    before = logging.getLogger().handlers[:]
    logs.begin("http", run_settings.model_copy(update={"log_format": "json", "log_requests": "all"}))
    (handler,) = [known for known in logging.getLogger().handlers if known not in before]
    out = io.StringIO()
    handler.setStream(out)
    try:
        yield out
    finally:
        logging.getLogger().removeHandler(handler)
        logs.requests.setLevel(logging.CRITICAL)


@pytest.fixture
def lines(written):
    """Give the lines of a request."""

    def of(identity):
        found = [json.loads(line) for line in written.getvalue().splitlines()]
        return [line for line in found if line.get("request_id") == identity]

    return of


def test_a_request_is_followed_from_face_to_actor_by_its_id(lines, http, symbols):
    answer = risk(http, symbols)
    actor, face = lines(answer.headers["factor-request-id"])
    assert actor["message"] == "computed portfolio_risk: 200"
    assert {"queue_ms", "compute_ms", "device"} <= set(actor)
    assert face["message"] == "POST portfolio_risk: 200"
    assert face["caller"] == "local"
    assert face["http_ms"] >= actor["compute_ms"]
    assert all(line["level"] == "INFO" and line["time"].endswith("+00:00") for line in (actor, face))


def test_a_caller_chooses_the_id_by_idempotency_key_or_body(lines, http, symbols):
    assert risk(http, symbols, **{"idempotency-key": "mine-17"}).headers["factor-request-id"] == "mine-17"
    assert len(lines("mine-17")) == 2
    body = {"portfolio_weights": {symbols[0]: 1.0}, "request_id": "of-the-body"}
    assert http.post("/portfolio-risk/calculate", json=body).headers["factor-request-id"] == "of-the-body"
    assert len(lines("of-the-body")) == 2


@pytest.mark.parametrize("odd", ["\u4b09\u00fc", "a\r\nset-cookie: b", "\x00"])
def test_an_id_of_any_letters_is_no_header_of_its_own(odd, http, symbols):
    answer = http.post("/portfolio-risk/calculate", json={"portfolio_weights": {symbols[0]: 1.0}, "request_id": odd})
    assert answer.status_code == 200
    assert answer.headers["factor-request-id"] == quote(odd)
    assert "set-cookie" not in answer.headers


def test_a_defect_is_logged_under_the_requests_id_with_its_traceback(lines, http, symbols, services, monkeypatch):
    actor = services.client.actor("risk_model_construction")
    monkeypatch.setattr(type(actor), "portfolio_risk", lambda *_: 1 / 0)
    answer = risk(http, symbols)
    assert answer.status_code == 500
    found = lines(answer.headers["factor-request-id"])
    assert [line["level"] for line in found] == ["ERROR", "WARNING", "WARNING"]
    defect, computed, face = found
    assert "ZeroDivisionError" in defect["error"]
    assert computed["code"] == face["code"] == "internal"
    assert defect["message"].split()[-1] in answer.json()["detail"]


def test_by_default_only_what_failed_on_our_side_is_written(written, http, symbols, services, monkeypatch):
    assert Settings().log_requests == "problems"
    logs.requests.setLevel(logs.LEVELS["problems"])
    assert risk(http, symbols).status_code == 200
    assert http.post("/portfolio-risk/calculate", json={"portfolio_weights": {"NOBODY": 1.0}}).status_code == 422
    assert written.getvalue() == ""
    actor = services.client.actor("risk_model_construction")
    monkeypatch.setattr(type(actor), "portfolio_risk", lambda *_: 1 / 0)
    assert risk(http, symbols).status_code == 500
    assert len(written.getvalue().splitlines()) == 3


def test_a_line_for_people_has_the_same_words():
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "what %s", ("ever",), None)
    record.about = {"request_id": "q", "code": None, "status": 503}
    text = logs._Lines("risk", as_json=False).format(record)
    assert re.fullmatch(r"\d{4}-\S+\+00:00 WARNING risk x: what ever \[request_id=q status=503\]", text)
