"""`ray up cluster.yaml` over ssh, by the shipped file with other addresses: up, with the engine, a loss, again, down.

The tests are one story and run in the order in which they stand.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hosts import Host, with_signal
from left_behind import named
from running_engine import ROOT, lifecycle, small_market, until
from ssh_hosts import COMMAND_S, SshHosts, why_not

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(3600),
    lifecycle,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
SHIPPED = yaml.safe_load((ROOT / "cluster.yaml").read_text())
TOKEN = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$FACTOR_ENGINE_RUN_DIR/ray/token"
ENGINE = "cd factor-engine && RAY_ADDRESS=127.0.0.1:6379 exec .venv/bin/python -m launch --data"
URL = "http://127.0.0.1:8300"
PORTFOLIO = {"portfolio_weights": {"S0003": 0.5, "S0011": 0.5}}


@pytest.fixture(scope="module")
def machines() -> Iterator[SshHosts]:
    made = SshHosts(SHIPPED["auth"]["ssh_user"], ["one", "two"])
    try:
        provider = {
            **SHIPPED["provider"],
            "head_ip": made.head.address,
            "worker_ips": [host.address for host in made.nodes],
        }
        own = {**SHIPPED, "provider": provider}
        (made.own(made.head) / "cluster.yaml").write_text(yaml.safe_dump(own))
        yield made
    finally:
        made.close()


def raylets(machines: SshHosts) -> dict[str, set[int]]:
    """Give the process of Ray's node on each host."""
    return {host.name: {process.pid for process in named(host.processes(), "raylet")} for host in machines.all}


def alive(machines: SshHosts) -> set[str]:
    """Give the addresses of the nodes that the cluster has, as Ray tells them to who has the token."""
    code, text = machines.told("nodes", f"{TOKEN} ray list nodes --filter state=ALIVE --format json")
    found = re.search(r"^\[\{.*\}\]$", text, re.MULTILINE)
    return {row["node_ip"] for row in json.loads(found[0])} if code == 0 and found else set()


def whole(machines: SshHosts) -> bool:
    return alive(machines) == {host.address for host in machines.all}


def ask(machines: SshHosts, method: str, path: str, **more: Any) -> httpx.Response:
    return machines.head.within(httpx.request, method, f"{URL}{path}", **{"timeout": 60.0, "trust_env": False, **more})


def settled(machines: SshHosts) -> bool:
    """Say whether the engine has all hosts, and all its actors are READY."""
    page = ask(machines, "GET", "/health").json()
    states = {actor["state"] for actor in page["actors"]}
    nodes = {row["address"] for row in page["nodes"]}
    return states == {"READY"} and nodes == {host.address for host in machines.all}


def answered(machines: SshHosts) -> None:
    answer = ask(machines, "POST", "/factor-exposures/calculate", json=PORTFOLIO)
    assert answer.status_code == 200, answer.text


def up(machines: SshHosts, *words: str) -> None:
    """Have `ray up` done, again where the head did not come up in the 30 seconds that Ray gives it."""
    for _ in range(5):
        code, text = machines.told("up", " ".join(["ray", "up", "-y", *words, "cluster.yaml"]))
        if code == 0 or "timed out during startup" not in text:
            break
    assert code == 0, text


def nothing_left(machines: SshHosts, host: Host) -> None:
    try:
        until(lambda: machines.beside_ssh(host) == [], f"nothing is left on {host.name}", COMMAND_S)
    except AssertionError:
        pytest.fail("\n".join([f"still on {host.name}:", *machines.beside_ssh(host)]))


def only_log_monitors(machines: SshHosts, host: Host) -> bool:
    return all("/log_monitor.py " in command for command in machines.beside_ssh(host))


def test_ray_up_makes_the_head_and_has_every_node_join_with_the_token(machines):
    up(machines)
    until(lambda: whole(machines), "all nodes have joined", COMMAND_S)
    for host in machines.all:
        (raylet,) = named(host.processes(), "raylet")
        environment = raylet.environ()
        assert environment["RAY_AUTH_MODE"] == "token"
        assert "OMP_NUM_THREADS" not in environment
    wrong = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64} ray status --address {machines.head.address}:6379"
    assert machines.told("wrong", wrong)[0] != 0


def test_the_engine_is_put_on_it_and_answers(machines):
    engine = machines.started("engine", f"{ENGINE} {small_market(machines.shared)}")
    assert engine.said("Ready after", COMMAND_S), engine.text
    until(lambda: settled(machines), "all actors are READY", COMMAND_S)
    answered(machines)


def test_a_node_that_is_killed_is_started_again_by_the_head(machines):
    former = raylets(machines)
    machines.nodes[0].kill_all("ray")
    until(lambda: raylets(machines)["one"] - former["one"], "the head starts it over ssh", COMMAND_S)
    until(lambda: whole(machines) and settled(machines), "the node is back", COMMAND_S)
    answered(machines)


def test_ray_up_without_a_restart_leaves_what_runs(machines):
    former = raylets(machines)
    up(machines, "--no-restart")
    assert raylets(machines) == former
    assert settled(machines)
    answered(machines)


def test_a_second_ray_up_starts_ray_anew_on_every_host(machines):
    (engine,) = machines.head.processes("-m launch --data")
    with_signal(engine, signal.SIGINT)
    until(lambda: not machines.head.processes("-m launch"), "the engine has ended", COMMAND_S)
    former = raylets(machines)
    up(machines)
    until(lambda: whole(machines), "all nodes have joined", COMMAND_S)
    assert all(now and not now & former[host] for host, now in raylets(machines).items())


def test_ray_down_ends_ray_everywhere_and_ray_stop_what_is_left(machines):
    code, text = machines.told("exec", "ray exec cluster.yaml hostname")
    assert code == 0, text
    assert "head" in text.split()
    code, text = machines.told("down", "ray down -y cluster.yaml")
    assert code == 0, text
    assert "No nodes remaining" in text
    nothing_left(machines, machines.head)
    for host in machines.nodes:
        # Without its head a node's Ray ends by itself; its log monitor (2.60) goes on, for as long as the machine runs.
        until(lambda host=host: only_log_monitors(machines, host), f"Ray has ended on {host.name}", COMMAND_S)
        host.run([str(Path(sys.executable).with_name("ray")), "stop"])
        nothing_left(machines, host)
