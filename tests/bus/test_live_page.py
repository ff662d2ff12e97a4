"""The two programs of docs/live.md, run as they stand there: the publisher's prices move what the reader prints."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from fixtures_live import actors_over
from fixtures_nats import bridge_over, peer_of, until

ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "live.md").read_text(), re.DOTALL)


@pytest.fixture
def client(live_market, own_store):
    return actors_over(live_market)


def started(folder, program, out):
    path = folder / f"program{len(program)}.py"
    path.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, str(path)], cwd=folder, env=environment, stdout=out, stderr=out)


def test_the_page_has_a_publisher_of_twenty_lines_and_a_reader():
    publisher, reader = PROGRAMS
    code = [line for line in publisher.splitlines() if line.strip()]
    assert len(code) <= 22
    assert "market_data.tick." in publisher
    assert "engine.watch(" in reader


def test_the_publishers_prices_move_what_the_reader_prints(own_server, client, tmp_path):
    (tmp_path / ".run").symlink_to(own_server.run_dir)
    publisher, reader = PROGRAMS

    async def run():
        processes, told = [], []
        with (tmp_path / "printed").open("w") as printed, (tmp_path / "errors").open("w") as errors:
            try:
                async with bridge_over(own_server, client), peer_of(own_server) as nc:
                    processes.append(started(tmp_path, reader, printed))
                    processes.append(started(tmp_path, publisher, errors))

                    async def moved():
                        assert [process.poll() for process in processes] == [None, None], said(tmp_path)
                        if len((tmp_path / "printed").read_text().splitlines()) < 3:
                            return False
                        reply = await nc.request("ml.factor_features.live_status", b'{"model_id":"main"}', timeout=30)
                        told.append(orjson.loads(reply.data))
                        return told[-1]["seen"] >= 3  # the publisher draws a name at a time

                    await until(moved, "the reader prints, and names were seen", 90.0)
                    return told[-1]
            finally:
                for process in processes:
                    process.kill()
                    process.wait()

    status = asyncio.run(run())
    assert status["state"] == "running"
    assert status["rejected"] == {}
    lines = (tmp_path / "printed").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (0\.\d+|1\.0) ", line) for line in lines), lines


def said(folder):
    return (folder / "printed").read_text() + (folder / "errors").read_text()
