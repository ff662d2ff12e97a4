"""The engine on an object store: what it makes outlives the machine, and what others make is seen."""

from __future__ import annotations

import os
import signal

import pytest
from running_engine import lifecycle, running, small_market, until

from engine.run_dir import RunDir
from store import ModelStore
from store.bucket import Bucket
from store.damage import check
from store.files import ObjectFiles
from store.objects import ObjectCommit
from store.poll import poll

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900), lifecycle]
URI = "s3://store/engine"
SECRETS = (b"secret-of-the-test", b"key-of-the-test")
WEIGHTS = {"N1": 0.6, "N2": 0.4}
DAYS = [f"2024-01-{day:02d}" for day in range(2, 30)]


def rows(days) -> dict:
    each = [(day, f"N{i}") for day in days for i in range(12)]
    return {
        "date": [day for day, _ in each],
        "symbol": [name for _, name in each],
        "asset_returns": [((i * 7919) % 200 - 100) / 1e4 for i in range(len(each))],
        "market_cap": [1e9 + i for i in range(len(each))],
        "sector": ["a" if int(name[1:]) % 2 else "b" for _, name in each],
    }


def made(answer) -> dict:
    assert answer.status_code == 200, answer.text
    return answer.json()


def exposures(run, **more) -> dict:
    body = {"model_id": "mine", "portfolio_weights": WEIGHTS, **more}
    return made(run.ask("POST", "/factor-exposures/calculate", json=body))["calculation_result"]["factor_exposures"]


def append(run, day, request_id) -> int:
    body = {"feature_data": rows([day]), "request_id": request_id}
    return made(run.ask("POST", "/factor-model/mine/append", json=body))["calculation_result"]["model_version"]


def listed(run) -> set[str]:
    return {row["model_id"] for row in run.ask("GET", "/factor-models/list").json()["models"]}


def test_an_engine_on_an_object_store_is_had_again_on_another_machine_and_sees_what_others_make(s3, tmp_path):
    market = small_market(tmp_path)
    said = {"FACTOR_ENGINE_STORE": URI, "FACTOR_ENGINE_STORE_POLL_S": "0.5"}
    with running(tmp_path / "first", market, **said) as first:
        first.until_ready()
        made(first.ask("POST", "/factor-model/create", json={"model_id": "mine", "feature_data": rows(DAYS)}))
        assert [append(first, "2024-01-30", "day") for _ in range(2)] == [2, 2]
        before = exposures(first)
        other = ObjectCommit(Bucket(URI), tmp_path / "other", poll_s=60.0, cache_bytes=1 << 30)
        poll(other)
        theirs = ModelStore(other)
        theirs.commit("theirs", theirs.head("mine").state(), base=0, request_id="t", operation="create_model")
        until(lambda: "theirs" in listed(first), "the other node's model is seen", 60.0)
        until(lambda: first.health()["status"] == "healthy", "the engine is healthy", 120.0)
        logs = RunDir(first.run_dir).short_temp() / "ray" / "session_latest" / "logs"
        assert logs.is_dir()
        for path in [*first.run_dir.rglob("*"), *logs.resolve().rglob("*"), first.log_path]:
            if path.is_file():
                content = path.read_bytes()
                assert not [secret for secret in SECRETS if secret in content], path
        os.kill(first.process.pid, signal.SIGKILL)
    assert list(check(ObjectFiles(Bucket(URI)))) == []
    with running(tmp_path / "second", market, **said) as second:
        second.until_ready()
        assert {"mine", "theirs"} <= listed(second)
        assert exposures(second) == before
        assert exposures(second, model_id="theirs") == before
        assert append(second, "2024-01-31", "next") == 3
