"""Requests for another engine, and those that another engine passed on, are refused before anything is done."""

import pytest
from fixtures_nats import ClientDouble
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from bus.face import Face
from contracts.identity import ENGINE_HEADER, ROUTED_HEADER, engine_id
from contracts.settings import Settings
from web.app import make_app
from web.services import Services


@pytest.fixture
def client():
    return ClientDouble()


@pytest.fixture
def http(client, tmp_path):
    services = Services(Settings(run_dir=tmp_path), face=Face(client, None), client=client)
    return TestClient(make_app(services), base_url="http://127.0.0.1")


def test_every_answer_names_the_engine_errors_too(http, tmp_path):
    for path in ("/health", "/no-such-route"):
        assert http.get(path).headers[ENGINE_HEADER] == engine_id(tmp_path)


@pytest.mark.parametrize("header", [ENGINE_HEADER, ROUTED_HEADER])
def test_a_write_that_is_for_another_engine_is_refused_and_not_done(http, client, tmp_path, header):
    answer = http.delete("/factor-model/m", headers={header: "0" * 32})
    assert answer.status_code == 421
    problem = answer.json()
    assert problem["code"] == "wrong_engine"
    assert "0" * 32 in problem["detail"]
    assert engine_id(tmp_path) in problem["detail"]
    assert client.calls == []
    assert http.delete("/factor-model/m", headers={header: engine_id(tmp_path)}).status_code == 200
    assert [call.operation for call in client.calls] == ["delete_model"]


def test_a_websocket_of_another_engines_proxy_is_refused(http):
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        http.websocket_connect("/ws/factors", headers={ROUTED_HEADER: "0" * 32}),
    ):
        pass
    assert refused.value.code == 1008
