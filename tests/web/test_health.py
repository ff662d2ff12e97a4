import asyncio
import shutil

import pytest
from fixtures_ray import until
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from contracts.version import VERSION
from contracts.work import Device
from devices.standing import Standing
from web.app import make_app
from web.health import degraded_parts
from web.services import Services


@pytest.fixture(autouse=True)
def always_look(monkeypatch):
    """Callers at the same time share one look; a test wants its own."""
    monkeypatch.setattr("web.health.FRESH_S", -1.0)


def counted(http):
    return http.get("/health").json()["huge_improvements"]["factor_models_active"]


def test_health_keeps_the_old_keys_with_true_values(http):
    body = http.get("/health").json()
    assert body["messagebus_connected"] is False
    assert body["neural_engine_available"] is False
    # Another test's model may come or go in between.
    until(lambda: counted(http) == len(http.get("/factor-models/list").json()["models"]), "the models were not counted")
    assert body["huge_improvements"]["feature_cleaning_enabled"] is True
    assert {"toraniko_available", "factor_definitions_loaded"} <= set(body)
    assert body["default_model"] == "m"


def test_health_tells_of_each_actor_what_it_wanted_where_it_is_and_what_it_did(http, symbols):
    assert http.post("/factor-exposures/calculate", json={"portfolio_weights": {symbols[0]: 1.0}}).is_success
    actors = {row["workload"]: row for row in http.get("/health").json()["actors"]}
    assert len(actors) == 12
    row = actors["factor_exposure_analysis"]
    assert row["wanted_device"] == ["metal_gpu"]
    assert row["placement"]["device"] == ["cpu"]
    assert row["device"] == "cpu"
    assert row["state"] == "READY"
    assert row["calls"] >= 1
    assert {"restarts", "queue_length", "p50_ms", "p99_ms"} <= set(row)


def test_a_model_that_cannot_be_read_is_degraded_and_named_with_its_file_and_all_else_is_ready(http, run_settings):
    folder = run_settings.store_path / "models" / "torn"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(b'{"format": 2, "mod')
    try:
        body = http.get("/health").json()
        listed = http.get("/factor-models/list").json()
        status = http.get("/factor-models/torn/status")
        gone = http.delete("/factor-model/torn")
    finally:
        shutil.rmtree(folder)
    assert body["status"] == "degraded"
    (row,) = body["degraded"]
    assert row["component"] == "model:torn"
    assert row["file"] == "models/torn/manifest.json"
    assert "it is no JSON of 18 bytes" in row["reason"]
    assert {actor["state"] for actor in body["actors"]} <= {"READY", "STARTING"}
    assert "m" in [model["model_id"] for model in listed["models"]]
    assert [model["model_id"] for model in listed["unreadable"]] == ["torn"]
    assert (status.status_code, status.json()["code"]) == (503, "model_unreadable")
    assert gone.status_code == 200
    assert http.get("/health").json()["degraded"] == []


def test_the_old_paths_are_the_same_implementation(http):
    assert set(http.get("/api/v1/factor-engine/health").json()) == set(http.get("/health").json())
    status = http.get("/api/v1/factor-engine/status").json()
    assert {"model_id": "m", "model_version": 1} in status["models"]
    assert http.get("/api/v1/factor-engine/models").json()["count"] == len(status["models"])
    assert http.get("/api/v1/factor-engine/config").json()["settings"]["http_port"] == 8300


def test_the_configuration_shows_no_log_in(run_settings):
    current = run_settings.model_copy(update={"nats_url": "nats://user:secret@bus:4222"})
    with TestClient(make_app(Services(current))) as client:
        text = client.get("/api/v1/factor-engine/config").text
    assert "secret" not in text
    assert "nats://bus:4222" in text


class Hangs:
    async def health(self):
        await asyncio.sleep(60.0)

    routing = status = health


class Dies:
    async def health(self):
        raise RuntimeError("The actor died unexpectedly\nand much more")

    routing = status = health


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("web.health.PROBE_S", 0.05)
    monkeypatch.setattr("web.service.PROBE_S", 0.05)


@pytest.fixture
def degraded(run_settings, services):
    def over(part):
        return TestClient(make_app(Services(run_settings, face=services.face, client=part, bridge=part)))

    return over


@pytest.mark.parametrize("part", [Hangs(), Dies()], ids=["silent", "dead"])
@pytest.mark.usefixtures("impatient")
def test_health_and_status_answer_while_the_router_and_the_bridge_are_down(degraded, part):
    with degraded(part) as client:
        for path in (
            "/health",
            "/api/v1/factor-engine/status",
            "/performance-metrics",
            "/metrics",
            "/messagebus/status",
        ):
            assert client.get(path).status_code == 200, path
        body = client.get("/health").json()
        assert body["status"] == "degraded"
        assert {row["component"] for row in body["degraded"]} == {"router", "bridge"}
        assert body["factor_definitions_loaded"] is None  # nobody said how many there are
        assert client.get("/messagebus/status").json()["connected"] is False
        assert client.get("/routing").status_code == 503


class SaysLittle:
    async def health(self):
        return {"bus": {"connected": True}, "actors": []}

    routing = status = health


def test_a_router_that_says_nothing_of_starting_is_no_error(degraded):
    with degraded(SaysLittle()) as client:
        body = client.get("/health").json()
        assert body["status"] == client.get("/api/v1/factor-engine/status").json()["status"] == "healthy", body[
            "degraded"
        ]
        assert body["starting"] == []


def test_a_device_that_is_left_alone_is_named_with_the_reason_and_when_it_is_asked_again():
    standing = Standing([Device.NEURAL_ENGINE])
    held = standing.failed(Device.NEURAL_ENGINE, None, "it failed in revalue: no answer within 1 s")
    actor = {"actor": "risk_model_construction", "notes": {"degraded": standing.told()}}
    (row,) = degraded_parts({"router": {"actors": [actor]}, "bridge": None, "models": None, "silent": {}})
    assert row["component"] == "device:neural_engine"
    assert row["state"] == "DEGRADED"
    assert row["reason"] == "it failed in revalue: no answer within 1 s; the CPU computes instead"
    assert row["again_at"] == held.until


def test_performance_shows_rates_stages_and_devices_per_operation(http, symbols):
    assert http.post("/factor-exposures/calculate", json={"portfolio_weights": {symbols[0]: 1.0}}).is_success
    body = http.get("/performance-metrics").json()
    row = body["operations"]["factor_exposures"]
    assert row["calls"] >= 1
    assert row["devices"]["cpu"] >= 1
    assert row["stages_ms"]["compute"]["p99"] >= row["stages_ms"]["compute"]["p50"] > 0.0
    assert 0.0 < body["success_rate"] <= 1.0
    assert body["model_estimation_ms"]["put_data"]["count"] >= 1
    assert body["http"]["factor_exposures"]["calls"] >= 1


def test_the_metrics_page_is_prometheus_text_with_the_same_counts(http):
    families = {f.name: f for f in text_string_to_metric_families(http.get("/metrics").text)}
    calls = {s.labels["operation"]: s.value for s in families["factor_engine_calls"].samples}
    assert calls["put_data"] >= 1
    up = families["factor_engine_up"].samples[0]
    assert up.value == 1.0
    (build,) = families["factor_engine_build_info"].samples
    assert build.labels["version"] == VERSION
    stage = families["factor_engine_stage_seconds"]
    assert stage.type == "histogram"
    of = {"operation": "put_data", "stage": "compute"}
    rows = [s for s in stage.samples if of.items() <= s.labels.items()]
    below = [s.value for s in rows if s.name.endswith("_bucket")]
    assert below == sorted(below)
    assert below[-1] == next(s.value for s in rows if s.name.endswith("_count")) >= 1
    assert {s.labels.get("le") for s in rows} >= {"0.001", "0.005", "+Inf"}
    ready = {s.labels["workload"]: s.value for s in families["factor_engine_actor_ready"].samples}
    assert ready["factor_model_creation"] == 1.0


def test_every_bound_has_its_counter_on_the_metrics_page(http, symbols):
    """What README and operations.md call a limit; the outbox's and the bridge's are numbers of the bridge itself."""
    http.post("/factor-exposures/calculate", json={"portfolio_weights": {symbols[0]: 1.0}})
    http.post("/factor-exposures/calculate", content=b" " * (2**20 + 1))
    families = {f.name: f.samples for f in text_string_to_metric_families(http.get("/metrics").text)}
    problems = {(s.labels["route"], s.labels["code"]) for s in families["factor_engine_http_problems"]}
    assert ("factor_exposures", "body_too_large") in problems
    kept = {(s.labels["workload"], s.labels["name"]) for s in families["factor_engine_actor"]}
    assert {("factor_model_creation", "versions_retired"), ("factor_exposure_analysis", "slice_evictions")} <= kept
    sockets = {s.labels["name"] for s in families["factor_engine_websockets"]}
    assert sockets == {"subscribers", "refused", "missed"}
    stages = {(s.labels["face"], s.labels["stage"]) for s in families["factor_engine_face_stage_seconds"]}
    # `dispatch` is measured by the RouterClient, which is not here.
    assert ("http", "publish") in stages


def test_a_test_broadcast_without_nats_is_queued_and_says_so(http):
    body = http.post("/messagebus/test-factor-broadcast", json={"message": "hello"}).json()
    assert body["messagebus_published"] is False
    assert body["messagebus_queued"] is True


class Silent(SaysLittle):
    """A face whose models do not answer."""

    async def answer(self, *_, **__):
        await asyncio.sleep(3600)

    def outbox_trouble(self):
        return None


@pytest.mark.usefixtures("impatient")
def test_models_that_could_not_be_asked_are_not_counted_as_none(run_settings):
    part = Silent()
    with TestClient(make_app(Services(run_settings, face=part, client=part, bridge=part))) as client:
        body = client.get("/health").json()
    assert body["huge_improvements"]["factor_models_active"] is None
    assert "models" in {row["component"] for row in body["degraded"]}
