"""Blocks of the pages that ask a running engine: run as they stand, but for the port and the names of the market."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from docs_blocks import ROOT, block
from onnx import TensorProto, helper, numpy_helper

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def folder(shared_run, tmp_path_factory):
    """Where a reader stands: the project's folder, with the run directory in it."""
    made = tmp_path_factory.mktemp("reader")
    (made / ".run").symlink_to(shared_run.run_dir)
    (made / ".venv/bin").mkdir(parents=True)
    (made / ".venv/bin/activate").touch()
    return made


@pytest.fixture(scope="module")
def surroundings(shared_run):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACTOR_ENGINE_", "RAY_"))}
    own = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_PROXY": "*"}
    return {**kept, **own, "FACTOR_ENGINE_URL": f"http://127.0.0.1:{shared_run.port}"}


@pytest.fixture
def shell(shared_run, folder, surroundings):
    def run(text):
        text = text.replace("127.0.0.1:8300", f"127.0.0.1:{shared_run.port}")
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def program(shared_run, folder, surroundings):
    def run(text):
        text = text.replace("127.0.0.1:8300", f"127.0.0.1:{shared_run.port}")
        command = [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def keys(text):
    """Give the names that stand in an answer, shortened or not."""
    return set(re.findall(r'"(\w+)":', text))


def test_readme_md_asks_for_exposures_and_shows_what_comes(shell):
    """README.md"""
    said = block("README.md", "$ curl")
    asked, _, shown = said.removeprefix("$ ").partition("\n{")
    answer = shell(asked)
    assert json.loads(answer)["success"] is True
    assert keys(shown) <= keys(answer)


def test_clients_md_by_curl_and_over_nats(shell, program):
    answer = json.loads(shell(block("clients.md", "curl -s http://127.0.0.1:8300/factor-exposures")))
    over_nats = json.loads(program(block("clients.md", "import asyncio, json, nats")))
    exposures = "factor_exposures"
    assert over_nats["calculation_result"][exposures] == answer["calculation_result"][exposures]


def test_clients_md_in_typed_python_prints_what_the_page_shows(program):
    told = program(block("clients.md", "import asyncio\nfrom pathlib")).splitlines()
    shown = [line for line in block_behind("clients.md", "factor.portfolio_exposures.tech").splitlines() if line]
    assert float(told[0])
    assert float(shown[0])
    assert told[1:] == shown[1:]


def block_behind(page, holding):
    from docs_blocks import blocks

    (found,) = [one.text for one in blocks() if one.page == page and one.kind == "text" and holding in one.text]
    return found


def test_clients_md_takes_a_table_and_reads_events(program, shell):
    printed = program(block("clients.md", "import asyncio\nimport io"))
    assert "beta" in printed
    assert "momentum" in printed
    events = json.loads(shell(block("clients.md", "curl -s 'http://127.0.0.1:8300/messagebus")))
    assert "events" in events


def test_clients_md_follows_a_stream(program):
    """The function of the page, called as a program would; no event of the library may be there, then it times out."""
    text = "import asyncio, json, nats\n" + block("clients.md", "async def follow")
    text += """
async def main():
    access = json.load(open(".run/nats/access.json"))
    nc = await nats.connect(access["url"], user=access["user"], password=access["password"])
    try:
        await follow(nc)
    except TimeoutError:  # nats-py has its own or asyncio's, by where it waited
        pass
    await nc.jetstream().delete_consumer("FACTOR_EVENTS", "my-program")
    await nc.close()
    print("followed")

asyncio.run(main())
"""
    assert "followed" in program(text)


def test_library_md_evaluates_bars(shell):
    answer = json.loads(shell(block("library.md", "curl -X POST http://127.0.0.1:8300/factors/evaluate")))[
        "calculation_result"
    ]
    assert answer["factor_values"] == {"A": pytest.approx(0.05)}


def test_library_md_finds_what_is_alike(shell):
    answer = json.loads(shell(block("library.md", "curl -X POST http://127.0.0.1:8300/factors/neighbours")))
    assert answer["success"] is True


def test_clients_md_without_await(program):
    assert "percent_factor" in program(block("clients.md", "from clients.blocking"))


def test_learning_md_makes_a_data_set_trains_on_it_and_registers(shell, program, shared_run, folder):
    shell(block("learning.md", "curl -s http://127.0.0.1:8300/ml/dataset"))
    train = pl.read_ipc_stream(folder / "train.arrow")
    assert {"date", "symbol", "fold", "split_0", "beta", "momentum", "forward_return_5"} <= set(train.columns)
    before = 'import polars as pl\ntrain = pl.read_ipc_stream("train.arrow").drop_nulls()\nADMIN_TOKEN = "none here"\n'
    try:
        program(before + block("learning.md", "import base64, httpx, skops") + "\n")
        listed = shared_run.ask("GET", "/estimators").json()
        assert "gbm" in json.dumps(listed)
    finally:
        shared_run.ask("DELETE", "/estimators/gbm")


def test_learning_md_registers_a_network(program, shared_run, folder):
    """Which PyTorch would have written: tests/actors/learning reads what others write."""
    weights = numpy_helper.from_array(np.array([[0.5], [-0.25]], dtype=np.float32), "w")
    bias = numpy_helper.from_array(np.array([0.1], dtype=np.float32), "b")
    given, got = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name, width in (("x", 2), ("y", 1))
    )
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])], "net", [given], [got], [weights, bias]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "network.onnx").write_bytes(model.SerializeToString())
    try:
        program('ADMIN_TOKEN = "none here"\n' + block("learning.md", "import base64, httpx\n") + "\n")
        listed = shared_run.ask("GET", "/estimators").json()
        assert "network" in json.dumps(listed)
    finally:
        shared_run.ask("DELETE", "/estimators/network")


def test_live_md_makes_a_watch(shell, shared_run):
    """`nats` is no tool of ours: that its subject is one of the watch's is in tests/bus/test_live_page.py."""
    text = block("live.md", "curl -X PUT http://127.0.0.1:8300/watches")
    asked, _, listen = text.rstrip("\n").rpartition("\n")
    assert listen.split() == ["nats", "sub", "factor.live.desk"]
    try:
        answer = json.loads(shell(asked))
        assert answer["success"] is True
    finally:
        shared_run.ask("DELETE", "/watches/desk")


def test_operations_md_looks_at_dead_letters(shell):
    listed, one, again = block("operations.md", "curl -s http://127.0.0.1:8300/messagebus/dead-letters ").splitlines()
    assert "dead_letters" in json.loads(shell(listed))
    for line in (one, again):  # there is no letter of this number: the engine says so
        assert json.loads(shell(line))["status"] == 404


def test_tutorial_md_goes_from_a_csv_to_a_books_risk(shell, program, shared_run, folder):
    """The blocks of tutorial.md in their order; `make run` is what the fixture has done."""

    def step(beginning):
        return block("tutorial.md", beginning)

    try:
        assert "healthy" in shell(f"{step('. .venv/bin/activate').rstrip()} || true")
        program(step("from factors import sample_market"))
        table = pl.read_csv(folder / "prices.csv")
        days = table["date"].unique().sort()
        table.filter(pl.col("date") == days[-1]).write_csv(folder / "day.csv")
        table.filter(pl.col("date") < days[-1]).write_csv(folder / "prices.csv")
        shell(step("factor-engine model create mine"))
        (folder / "book.csv").write_text(step("symbol,weight"))
        shell(step("factor-engine book put"))
        told = shell(step("factor-engine book risk"))
        for word in ("total_risk_annual", "factor_risk", "specific_risk", "active"):
            assert word in told, word
        answer = json.loads(shell(step("curl -s")))["calculation_result"]
        assert answer["factor_values"]["total_risk_annual"] > 0
        shell(step("factor-engine book attribution"))
        assert "mine" in shell(step("factor-engine model append"))
    finally:
        shared_run.ask("DELETE", "/factor-model/mine")
        shared_run.ask("DELETE", "/portfolios/core")


ENDLESS = ("factor-engine watch follow", "factor-engine job start")
"""The first ends by Ctrl-C, the second takes minutes: tests/launch/command and tests/jobs run both."""


def test_command_md_line_by_line(shell, shared_run, folder):
    whole = pl.read_parquet(shared_run_market(shared_run))
    days = whole["date"].unique().sort()
    whole.filter(pl.col("date") < days[-1]).write_parquet(folder / "prices.parquet")
    whole.filter(pl.col("date") == days[-1]).write_csv(folder / "day.csv")
    (folder / "book.csv").write_text("symbol,weight\nS0003,0.6\nS0011,0.4\n")
    try:
        for line in block("command.md", "factor-engine --help").splitlines():
            words = shlex.split(line.replace("mine 3", "lines 1"), comments=True)
            words = ["lines" if word == "mine" else word for word in words]
            assert words[0] == "factor-engine"
            if line.startswith(ENDLESS):
                continue
            ends = 1 if words[1] in ("doctor", "status") else 0  # what they find on this machine is theirs
            shell(f"{shlex.join(words).replace('A=-0.1,B=0.1', 'S0003=-0.1,S0011=0.1')} || [ $? -le {ends} ]")
    finally:
        shared_run.ask("DELETE", "/factor-model/lines")
        shared_run.ask("DELETE", "/portfolios/core")


def shared_run_market(run):
    """The file that the shared engine's model was made of."""
    words = run.process.args
    return words[words.index("--data") + 1]
