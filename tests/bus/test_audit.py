"""A line for every write, whichever way it came: who, what, which version; bounded, and never in the write's way."""

import asyncio
import logging
import stat
import subprocess
import sys

import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, until
from starlette.testclient import TestClient

from bus.audit import Audit
from bus.face import Face
from contracts.caller import caller
from contracts.errors import EngineError, VersionConflict
from contracts.operations import OPERATIONS
from contracts.requests import AppendDay
from contracts.settings import Settings
from contracts.tokens import Scope, add_token, token_file
from web.app import make_app
from web.services import Services

DAY = {"model_id": "m", "feature_data": {"date": ["2020-01-01"], "symbol": ["A"], "asset_returns": [0.1]}}
ROW = OPERATIONS["append_day"]


def lines(audit):
    found = []
    for path in (audit.path.with_name(audit.path.name + ".1"), audit.path):
        found += [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return found


def test_a_write_is_noted_with_who_and_its_version_and_a_read_is_not(tmp_path):
    audit = Audit(tmp_path / "audit" / "audit.jsonl")
    face = Face(ClientDouble(), None, audit=audit)

    async def run():
        caller.set("token:desk")
        await face.answer(ROW, DAY, request_id="r1")
        await face.answer(OPERATIONS["factor_exposures"], {"portfolio_weights": {"A": 1.0}})

    asyncio.run(run())
    (line,) = lines(audit)
    assert {name: line[name] for name in ("who", "operation", "model_id", "outcome", "version", "request_id")} == {
        "who": "token:desk", "operation": "append_day", "model_id": "m", "outcome": "done", "version": 3,
        "request_id": "r1",
    }  # fmt: skip
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("by", ["raised", "cancelled"])
def test_a_write_that_failed_is_noted_too(tmp_path, by):
    audit = Audit(tmp_path / "audit.jsonl")

    class Refusing(ClientDouble):
        async def call(self, *args, **how):
            if by == "raised":
                raise VersionConflict("another was first")
            await asyncio.Event().wait()

    async def run():
        async with asyncio.timeout(0.05 if by == "cancelled" else 10.0):
            await Face(Refusing(), None, audit=audit).answer(ROW, DAY)

    with pytest.raises((EngineError, TimeoutError)):
        asyncio.run(run())
    assert [line["outcome"] for line in lines(audit)] == ["version_conflict" if by == "raised" else "CancelledError"]


def test_over_nats_the_peer_is_named_plainly_and_durably(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            body = orjson.dumps(DAY)
            subject = next(s for s in ROW.subjects if s.startswith("toraniko."))
            await nc.request(subject, body, timeout=10)
            await nc.jetstream().publish(f"factor.in.{subject}", body)
            await nc.jetstream().publish(
                "market_data.bar.m", orjson.dumps({"model_id": "m", "rows": DAY["feature_data"]})
            )
            await until(lambda: bridge.durable.done and bridge.bars.done, "all are done")

    asyncio.run(run())
    found = lines(Audit.of(Settings(run_dir=own_server.run_dir)))
    assert {line["who"] for line in found if line["operation"] == "append_day"} == {
        "nats:toraniko", "durable:toraniko", "feed",
    }  # fmt: skip


def test_over_http_the_token_is_named_and_never_shown(tmp_path):
    current = Settings(run_dir=tmp_path)
    audit = Audit.of(current)
    secret = add_token(token_file(current), "desk", Scope.WRITE)
    services = Services(current, face=Face(ClientDouble(), None, audit=audit), client=ClientDouble())
    client = TestClient(make_app(services), base_url="http://127.0.0.1:8300")
    path = ROW.routes[0].path.format(model_id="m")
    answer = client.post(path, json=DAY, headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == 200, answer.text
    assert client.post(path, json=DAY).status_code == 401
    (line,) = lines(audit)
    assert line["who"] == "token:desk"
    assert secret not in audit.path.read_text()


def test_registering_a_formula_is_a_write_also_of_a_token(tmp_path):
    current = Settings(run_dir=tmp_path)
    audit = Audit.of(current)
    tokens = {scope: add_token(token_file(current), scope.name.lower(), scope) for scope in (Scope.READ, Scope.WRITE)}
    computed = ClientDouble()
    services = Services(current, face=Face(computed, None, audit=audit), client=computed)
    client = TestClient(make_app(services), base_url="http://127.0.0.1:8300")

    def ask(scope, **body):
        headers = {"authorization": f"Bearer {tokens[scope]}"}
        return client.post("/factors/evaluate", json={"formula": "rank(close)", **body}, headers=headers)

    assert ask(Scope.READ).status_code == 200
    refused = ask(Scope.READ, register_as="mine")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert [call.request.register_as for call in computed.calls] == [None]
    assert ask(Scope.WRITE, register_as="mine").status_code == 200
    no, yes = lines(audit)
    assert (no["who"], no["operation"], no["outcome"]) == ("token:read", "evaluate_formula", "forbidden")
    assert (yes["who"], yes["operation"], yes["register_as"], yes["outcome"]) == (
        "token:write", "evaluate_formula", "mine", "done",
    )  # fmt: skip


def test_what_the_door_refuses_to_a_token_that_it_knows_is_noted_and_so_is_what_operators_do(tmp_path):
    current = Settings(run_dir=tmp_path)
    audit = Audit.of(current)
    tokens = {scope: add_token(token_file(current), scope.name.lower(), scope) for scope in (Scope.READ, Scope.ADMIN)}
    client = ClientDouble()
    http = TestClient(
        make_app(Services(current, face=Face(client, None, audit=audit), client=client)),
        base_url="http://127.0.0.1:8300",
    )

    def ask(method, path, scope):
        return http.request(method, path, headers={"authorization": f"Bearer {tokens[scope]}"}).status_code

    assert http.delete("/factor-model/m").status_code == 401  # nobody is nobody: such lines would push out the others
    assert ask("DELETE", "/factor-model/m", Scope.READ) == 403
    assert ask("POST", "/routing/calibrate", Scope.READ) == 403
    assert ask("POST", "/routing/calibrate", Scope.ADMIN) == 200
    assert [call.operation for call in client.calls] == ["calibrate_devices"]
    told = [(line["who"], line["operation"], line["outcome"], line.get("model_id")) for line in lines(audit)]
    assert told == [
        ("token:read", "delete_model", "forbidden", "m"),
        ("token:read", "calibrate_devices", "forbidden", None),
        ("token:admin", "calibrate_devices", "done", None),
    ]


def test_registering_a_formula_over_nats_is_noted_with_the_peer(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()), peer_of(own_server) as nc:
            body = {"formula": "rank(close)", "register_as": "mine"}
            await nc.request("strategy.factor_analysis.evaluate", orjson.dumps(body), timeout=10)

    asyncio.run(run())
    (line,) = lines(Audit.of(Settings(run_dir=own_server.run_dir)))
    assert (line["who"], line["operation"], line["register_as"]) == ("nats:strategy", "evaluate_formula", "mine")


WRITER = """
import asyncio, sys
from pathlib import Path
from bus.audit import Audit
from contracts.caller import caller
from contracts.operations import OPERATIONS
from contracts.requests import AppendDay

async def run():
    audit = Audit(Path(sys.argv[1]), limit_bytes=20_000)
    caller.set(sys.argv[2])
    for number in range(100):
        request = AppendDay.model_construct(model_id="m", feature_data=b"", request_id=None)
        await audit.note(OPERATIONS["append_day"], request, outcome=str(number))

asyncio.run(run())
"""


def test_several_processes_write_whole_lines_and_the_log_stays_bounded(tmp_path):
    path = tmp_path / "audit.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, f"writer{number}"]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = lines(Audit(path))
    assert 50 < len(found) < 300
    assert found[-1]["outcome"] == "99"
    sizes = [one.stat().st_size for one in tmp_path.glob("audit.jsonl*")]
    assert len(sizes) == 2
    assert max(sizes) < 22_000


def test_a_log_that_cannot_be_written_holds_up_no_write_and_is_counted(tmp_path, caplog):
    (tmp_path / "audit").write_text("a file where the folder should be")
    audit = Audit(tmp_path / "audit" / "audit.jsonl")
    with caplog.at_level(logging.WARNING):
        answer = asyncio.run(Face(ClientDouble(), None, audit=audit).answer(ROW, DAY))
    assert answer["success"]
    assert audit.lost == 1
    assert "audit log" in caplog.text


def test_a_name_that_a_caller_makes_long_is_cut(tmp_path):
    audit = Audit(tmp_path / "audit.jsonl")
    request = AppendDay.model_construct(model_id="x" * 100_000, feature_data=b"")
    asyncio.run(audit.note(ROW, request, outcome="done"))
    assert audit.path.stat().st_size < 1000
