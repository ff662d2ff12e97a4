import json
import math

import pytest
from starlette.testclient import TestClient

from contracts import frames
from contracts.errors import QueueFull
from web.app import make_app
from web.services import Services

EXPOSURES = "/factor-exposures/calculate"


def problem(answer, status, code):
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert "Traceback" not in answer.text
    return body


def test_malformed_json_is_a_400_that_says_where(http):
    assert "line 1 column 2" in problem(http.post(EXPOSURES, content=b"{bad"), 400, "malformed_body")["detail"]


def test_a_body_that_is_no_object_is_a_400(http):
    problem(http.post(EXPOSURES, json=[1]), 400, "malformed_body")


def test_a_json_body_over_the_limit_is_a_413(http, run_settings):
    body = b'{"portfolio_weights": {"' + b"x" * run_settings.http_json_limit_bytes + b'": 1}}'
    assert problem(http.post(EXPOSURES, content=body), 413, "body_too_large")["field"] == "body"


def test_a_json_body_over_the_limit_without_a_declared_length_is_a_413(http, run_settings):
    def chunks():
        for _ in range(run_settings.http_json_limit_bytes // 2**16 + 1):
            yield b" " * 2**16

    problem(http.post(EXPOSURES, content=chunks()), 413, "body_too_large")


def test_a_bulk_body_over_the_limit_is_a_413_and_leaves_no_file(http, run_settings):
    def chunks():
        for _ in range(run_settings.http_bulk_limit_bytes // 2**22 + 1):
            yield b" " * 2**22

    answer = http.put("/factor-model/x/data", content=chunks(), headers={"content-type": frames.ARROW_STREAM})
    problem(answer, 413, "body_too_large")
    assert list((run_settings.run_dir / "uploads").iterdir()) == []


def test_an_empty_bulk_body_is_a_422(http):
    answer = http.put("/factor-model/x/data", content=b"", headers={"content-type": frames.ARROW_STREAM})
    problem(answer, 422, "invalid_input")


@pytest.mark.parametrize("inline", [True, False])
def test_a_truncated_arrow_stream_is_a_400_and_makes_no_model(http, sample, monkeypatch, inline):
    if not inline:
        monkeypatch.setattr("bus.reader.INLINE_BYTES", 0)
    body = frames.encode(sample)[: -len(frames.encode(sample)) // 2]
    answer = http.put("/factor-model/cut/data", content=body, headers={"content-type": frames.ARROW_STREAM})
    problem(answer, 400, "malformed_body")
    problem(http.get("/factor-models/cut/status"), 404, "unknown_model")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_weight_that_is_no_finite_number_is_a_422_that_names_it(http, number):
    answer = http.post(EXPOSURES, content=f'{{"portfolio_weights": {{"S0001": {number}}}}}')
    assert problem(answer, 422, "invalid_input")["field"] == "portfolio_weights.S0001"


def test_json_nested_beyond_reason_is_a_400(http):
    problem(http.post(EXPOSURES, content=b"[" * 100_000), 400, "malformed_body")


def test_a_wrong_type_is_a_422_that_names_the_field(http):
    body = problem(http.post(EXPOSURES, json={"portfolio_weights": {"S0001": "much"}}), 422, "invalid_input")
    assert body["field"] == "portfolio_weights.S0001"


def test_an_unknown_symbol_is_a_422_that_names_it(http):
    body = problem(http.post(EXPOSURES, json={"portfolio_weights": {"NOPE": 1.0}}), 422, "unknown_symbol")
    assert (body["field"], body["rows"]) == ("portfolio_weights", ["NOPE"])


def test_an_unknown_model_is_a_404(http):
    ask = {"model_id": "nowhere", "portfolio_weights": {"S0001": 1.0}}
    problem(http.post(EXPOSURES, json=ask), 404, "unknown_model")


def test_a_date_outside_the_model_is_a_422(http, symbols):
    ask = {"portfolio_weights": {symbols[0]: 1.0}, "date_requested": "1999-01-04"}
    problem(http.post(EXPOSURES, json=ask), 422, "date_outside_model")


TABLE = {
    "date": ["2024-01-02", "2024-01-03"],
    "symbol": ["A", "A"],
    "asset_returns": [0.01, 0.02],
    "market_cap": [1e9, 1e9],
}


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"date": ["2024-01-02", "2024-01-02"]}, 422, "2024-01-02"),
        ({"asset_returns": [0.01, math.inf]}, 422, "asset_returns"),
        ({"asset_returns": [0.01, "x"]}, 422, "asset_returns"),
        ({"market_cap": [1e9, -1.0]}, 422, "market_cap"),
        ({"date": [], "symbol": [], "asset_returns": [], "market_cap": []}, 422, "feature_data"),
        ({"market_cap": [1e9]}, 422, "market_cap"),
    ],
    ids=["duplicate row", "infinite return", "text for a number", "negative cap", "no rows", "ragged"],
)
def test_a_bad_table_is_a_4xx_that_names_what_is_wrong_and_makes_no_model(http, change, status, named):
    # As Python's own json writes it: an infinite number is `Infinity`.
    text = json.dumps({"model_id": "bad", "feature_data": {**TABLE, **change}})
    answer = http.post("/factor-model/create", content=text)
    assert answer.status_code == status, answer.text
    assert named in answer.text
    problem(http.get("/factor-models/bad/status"), 404, "unknown_model")


def test_a_content_type_that_is_not_read_is_a_415(http):
    answer = http.post(EXPOSURES, content=b"<a/>", headers={"content-type": "application/xml"})
    problem(answer, 415, "unsupported_media")
    answer = http.put("/factor-model/x/data", content=b"<a/>", headers={"content-type": "text/html"})
    problem(answer, 415, "unsupported_media")


def test_a_path_that_contradicts_the_body_is_a_422(http):
    answer = http.post("/factor-model/m/append", json={"model_id": "other", "feature_data": TABLE})
    assert problem(answer, 422, "invalid_input")["field"] == "model_id"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "1e9"])
def test_a_deadline_that_is_no_number_of_seconds_is_a_422(http, text):
    headers = {"x-request-timeout-seconds": text}
    answer = http.post(EXPOSURES, json={"portfolio_weights": {"S0001": 1.0}}, headers=headers)
    assert problem(answer, 422, "invalid_input")["field"] == "x-request-timeout-seconds"


def test_a_deadline_that_passed_is_a_408(http, symbols):
    ask = {"json": {"portfolio_weights": {symbols[0]: 1.0}}, "headers": {"x-request-timeout-seconds": "0.000001"}}
    problem(http.post(EXPOSURES, **ask), 408, "deadline_exceeded")


def test_an_unknown_route_is_a_404_problem(http):
    problem(http.get("/nowhere"), 404, "unknown_route")


def test_a_wrong_method_is_a_405_problem_that_lists_the_right_ones(http):
    answer = http.delete(EXPOSURES)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


class Raises:
    """A face whose computation raises."""

    default_model = None

    def __init__(self, error):
        self.error = error

    async def answer(self, *_args, **_more):
        raise self.error


def asked(run_settings, error):
    with TestClient(make_app(Services(run_settings, face=Raises(error)))) as client:
        return client.post(EXPOSURES, json={"portfolio_weights": {"A": 1.0}})


def test_a_full_queue_is_a_429_with_retry_after_in_whole_seconds(run_settings):
    answer = asked(run_settings, QueueFull("1024 requests wait", retry_after_s=1.2))
    assert problem(answer, 429, "queue_full")["retry_after_s"] == 1.2
    assert answer.headers["retry-after"] == str(math.ceil(1.2))


def test_an_unforeseen_error_is_logged_under_an_id_and_not_shown(run_settings, caplog):
    body = problem(asked(run_settings, ZeroDivisionError("secret internals")), 500, "internal")
    assert "secret" not in str(body)
    assert body["detail"].rsplit(" ", 1)[1] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_before_the_engine_is_connected_requests_get_a_503_that_says_so(run_settings):
    with TestClient(make_app(Services(run_settings))) as client:
        answer = client.post(EXPOSURES, json={"portfolio_weights": {"A": 1.0}})
        assert "starting" in problem(answer, 503, "unavailable")["detail"]
        assert "retry-after" in answer.headers
        assert client.get("/health").json()["status"] == "starting"
