"""The first hour of a quant on a running engine, over HTTP and over NATS: real Ray, Serve, nats-server and actors."""

import asyncio
import io
import json
import threading

import first_hour
import nats
import pytest
from fixtures_toraniko import DATA

from clients.nats import ERROR_HEADER
from contracts.frames import PARQUET

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not DATA.exists(), reason="the real file is not beside the project"),
]
MODEL = "first-hour"
ANSWER_S = 120.0


@pytest.fixture(scope="module")
def frame():
    return first_hour.faulty()


@pytest.fixture(scope="module")
def run(shared_run, frame):
    """The engine, with the file as one of its models."""
    sink = io.BytesIO()
    frame.write_parquet(sink)
    path, kind = f"/factor-model/{MODEL}/data", {"content-type": PARQUET}
    made = shared_run.ask("PUT", path, content=sink.getvalue(), headers=kind, timeout=ANSWER_S)
    assert made.status_code == 200, made.text
    yield shared_run
    models = [model["model_id"] for model in shared_run.ask("GET", "/factor-models/list").json()["models"]]
    assert {"main", MODEL} < set(models), "the rows made one of their own"
    for name in models:
        if name != "main":
            assert shared_run.ask("DELETE", f"/factor-model/{name}", timeout=ANSWER_S).status_code == 200


@pytest.fixture(scope="module")
def loop():
    """A loop in a thread of its own, so that one connection serves all tests."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(30)
    made.close()


@pytest.fixture(scope="module")
def connection(run, loop):
    access = json.loads((run.run_dir / "nats" / "access.json").read_text())
    opened = nats.connect(access["url"], user=access["user"], password=access["password"])
    made = asyncio.run_coroutine_threadsafe(opened, loop).result(60)
    yield made
    asyncio.run_coroutine_threadsafe(made.close(), loop).result(60)


@pytest.fixture(params=["http", "nats"])
def ask(request, run, loop, connection):
    def over_http(path, **body):
        sent = json.dumps({"model_id": MODEL, **body}, default=str)
        answer = run.ask("POST", path, content=sent, headers={"content-type": "application/json"}, timeout=ANSWER_S)
        return answer.status_code, answer.json()

    def over_nats(path, **body):
        sent = json.dumps({"model_id": MODEL, **body}, default=str).encode()
        asked = connection.request(first_hour.SUBJECTS[path], sent, timeout=ANSWER_S)
        answer = asyncio.run_coroutine_threadsafe(asked, loop).result(ANSWER_S + 10)
        return int((answer.headers or {}).get(ERROR_HEADER, 200)), json.loads(answer.data)

    return over_http if request.param == "http" else over_nats


@pytest.mark.parametrize("row", first_hour.ROWS, ids=lambda row: row.__name__)
def test_what_a_quant_meets_in_the_first_hour_is_right(ask, frame, row):
    row(ask, frame)


def test_what_looked_wrong_in_the_market_stands_on_the_screen_a_line_each(run):
    findings = run.ask("GET", "/factor-models/main/quality").json()["findings"]
    assert findings, "the sample market has names that leave"
    shown = "".join(run.log.split())  # a long line is broken where the screen ends
    assert "Whatlookedwronginthedata" in shown
    for found in findings:
        assert "".join(f"{found['severity']}: {found['line']}".split()) in shown
