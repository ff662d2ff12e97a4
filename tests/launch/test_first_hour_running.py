"""The first hour of a quant on a running engine, over HTTP and over NATS: real Ray, Serve, nats-server and actors."""

import asyncio
import json
import threading

import first_hour
import nats
import pytest
from fixtures_toraniko import DATA
from running_engine import running

from clients.nats import ERROR_HEADER

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not DATA.exists(), reason="the real file is not beside the project"),
]
ANSWER_S = 120.0


@pytest.fixture(scope="module")
def frame():
    return first_hour.faulty()


@pytest.fixture(scope="module")
def run(tmp_path_factory, frame):
    """One engine for all rows and both ways; the file is its market."""
    market = tmp_path_factory.mktemp("market") / "real.parquet"
    frame.write_parquet(market)
    with running(tmp_path_factory.mktemp("engine") / "run", market) as started:
        started.until_ready()
        yield started


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
        sent = json.dumps({"model_id": "main", **body}, default=str)
        answer = run.ask("POST", path, content=sent, headers={"content-type": "application/json"}, timeout=ANSWER_S)
        return answer.status_code, answer.json()

    def over_nats(path, **body):
        sent = json.dumps({"model_id": "main", **body}, default=str).encode()
        asked = connection.request(first_hour.SUBJECTS[path], sent, timeout=ANSWER_S)
        answer = asyncio.run_coroutine_threadsafe(asked, loop).result(ANSWER_S + 10)
        return int((answer.headers or {}).get(ERROR_HEADER, 200)), json.loads(answer.data)

    return over_http if request.param == "http" else over_nats


@pytest.mark.parametrize("row", first_hour.ROWS, ids=lambda row: row.__name__)
def test_what_a_quant_meets_in_the_first_hour_is_right(ask, frame, row):
    row(ask, frame)
