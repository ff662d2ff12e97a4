"""A cluster of hosts with networks of their own: joining, placement, and the loss of each part of it.

The tests are one story and run in the order in which they stand: each leaves the cluster whole for the next.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
import time
from collections.abc import Iterator

import nats
import pytest
from hosts import why_not, with_signal
from running_cluster import (
    AHEAD_S,
    BOTH,
    BRIDGES,
    EXPOSURES,
    LOGIN,
    PORTFOLIO,
    REPLICAS,
    RISK,
    Load,
    RunningCluster,
    Started,
)
from running_engine import lifecycle, small_market, until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    lifecycle,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
SUBJECT = "risk.factor_request.factor_exposures"
ONE = ("metal_gpu",)
ENOUGH = 20
JOB_S = 600.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    made = RunningCluster()
    try:
        made.start_nats()
        made.lead()
        made.join()
        made.start_engine(small_market(made.shared))
        made.until_whole("the cluster is up")
        yield made
    finally:
        made.close()


async def replies(url: str, count: int) -> list[dict]:
    nc = await nats.connect(url, **LOGIN)
    try:
        body = json.dumps(PORTFOLIO).encode()
        return [json.loads((await nc.request(SUBJECT, body, timeout=60.0)).data) for _ in range(count)]
    finally:
        await nc.close()


def asked_over_nats(cluster: RunningCluster, count: int = 1) -> list[dict]:
    """Ask from the node, over the network."""
    return cluster.node.within(asyncio.run, replies(cluster.nats_url, count))


def answers_over_nats(cluster: RunningCluster) -> bool:
    """Say whether a request over NATS is answered; those that a dead bridge had in work are not."""
    try:
        return bool(asked_over_nats(cluster)[0].get("success"))
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
        return False


def answered(cluster: RunningCluster) -> None:
    """See that both doors are open, and that an event reached the bus."""
    answer = cluster.ask("POST", EXPOSURES, json=PORTFOLIO)
    assert answer.status_code == 200, answer.text
    (reply,) = asked_over_nats(cluster)
    assert reply["success"] is True, reply
    exposures = [page["calculation_result"]["factor_exposures"] for page in (answer.json(), reply)]
    assert exposures[0] == exposures[1]


def test_actors_are_on_the_node_that_offers_their_devices_and_requests_are_answered(cluster):
    page = cluster.health()
    assert {row["node"]: row["devices"] for row in page["nodes"]} == {
        "head": [],
        "node": ["metal_gpu", "neural_engine"],
    }
    assert {row["address"] for row in page["nodes"]} == {cluster.head.address, cluster.node.address}
    on_devices = [actor for actor in page["actors"] if actor["wanted_device"] != ["cpu"]]
    assert len(on_devices) >= 2
    for actor in on_devices:
        assert actor["placement"]["node"] == "node"
        assert set(actor["wanted_device"]) <= set(actor["placement"]["resources"])
    # The outbox and HAProxy are the head's, so is the replica.
    assert cluster.head.processes("ServeReplica")
    assert cluster.head.processes("haproxy")
    assert not cluster.node.processes("ServeReplica")
    answered(cluster)
    outposts = cluster.ask("GET", "/messagebus/status").json()["outposts"]
    assert [row["connected"] for row in outposts.values()] == [True]


def test_a_node_whose_clock_is_ahead_answers_in_time_and_tells_true_times(cluster):
    show = [sys.executable, "-c", "import time; print(time.time())"]
    ahead = cluster.told(cluster.node, show, PYTHONPATH=str(cluster.shared / "ahead"))
    assert float(ahead.stdout) > time.time() + AHEAD_S / 2
    for path in (EXPOSURES, RISK):
        answer = cluster.ask("POST", path, json=PORTFOLIO)
        assert answer.status_code == 200, answer.text
        timings = answer.json()["calculation_result"]["timings_ms"]
        assert all(0.0 <= took < AHEAD_S * 1e3 for took in timings.values()), timings


def test_of_two_bridges_one_dies_and_requests_over_the_network_are_answered(cluster):
    bridges = cluster.head.processes("ray::BridgeActor")
    assert len(bridges) == BRIDGES
    with_signal(bridges[0], signal.SIGKILL)
    until(lambda: answers_over_nats(cluster), "requests are answered", JOB_S)
    cluster.until_whole("the bridge is back")
    assert all(reply["success"] for reply in asked_over_nats(cluster, ENOUGH))
    status = cluster.ask("GET", "/messagebus/status").json()
    assert status["connected"] is True


def test_who_has_no_token_is_not_let_in(cluster):
    status = cluster.ray("status", "--address", f"{cluster.head.address}:6379")
    assert cluster.told(cluster.node, status, **cluster.token()).returncode == 0
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    assert cluster.told(cluster.node, status, **wrong).returncode != 0
    (cluster.shared / "empty").mkdir()
    join = [sys.executable, "-m", "launch.node", "--head", cluster.head.address]
    done = cluster.told(cluster.node, join, FACTOR_ENGINE_RUN_DIR=str(cluster.shared / "empty"))
    assert done.returncode == 1
    assert "the cluster's token is not here: copy ray/token of the head's run directory" in done.stderr


def lose(cluster: RunningCluster, how) -> None:
    """Lose the node while requests flow, and see who is told what."""
    with Load(cluster) as load:
        until(lambda: len(load.answers) > ENOUGH, "requests flow", JOB_S)
        how()
        until(lambda: "node:node" in cluster.degraded(), "health names the node", JOB_S)
        cluster.until_alone("all actors are on the head")
        count = len(load.answers)
        until(lambda: len(load.answers) > count + ENOUGH, "requests flow again", JOB_S)
    assert load.unclear() == []
    reasons = cluster.degraded()
    assert cluster.node.address in reasons["node:node"]
    assert [actor["placement"]["device"] for actor in cluster.actors().values()] == [["cpu"]] * len(cluster.actors())
    assert cluster.ask("POST", EXPOSURES, json=PORTFOLIO).status_code == 200


def test_a_node_that_is_killed_is_done_without_until_it_is_there_again(cluster):
    lose(cluster, cluster.node.kill_all)
    cluster.join()
    cluster.until_whole("the node is back")
    answered(cluster)


def test_a_node_whose_link_is_down_is_done_without_until_it_is_up_again(cluster):
    lose(cluster, lambda: cluster.node.link("down"))
    cluster.node.link("up")
    # Ray took the node for dead: it ends by itself, and systemd would start it again.
    until(lambda: cluster.mains["node"].process.poll() is not None, "the node's command ended", JOB_S)
    until(lambda: not cluster.node.processes(), "nothing of the node is left", JOB_S)
    cluster.join()
    cluster.until_whole("the node is back")
    answered(cluster)


def test_the_heads_workers_are_killed_and_come_back(cluster):
    names = ("ray::WorkloadHost", "ray::ServeReplica", "ray::BridgeActor", "ray::Router")
    with Load(cluster) as load:
        until(lambda: len(load.answers) > ENOUGH, "requests flow", JOB_S)
        former = {p.pid for name in names for p in cluster.head.processes(name)}
        for name in names:
            for process in cluster.head.processes(name):
                with_signal(process, signal.SIGKILL)
        until(lambda: all(cluster.head.processes(n) for n in names[1:]), "others are in their place", JOB_S)
        cluster.until_whole("the workers are back")
    assert not former & {p.pid for name in names for p in cluster.head.processes(name)}
    # What a replica had in work when it was killed: on a connection that was kept, the client is the one to repeat it.
    assert load.cut_off() <= load.threads
    assert len(load.unclear()) == load.cut_off(), load.unclear()
    answered(cluster)


def recomputed(cluster: RunningCluster, out: str) -> Started:
    """Submit the whole recompute of the model as a Ray job, on the head."""
    words = ["-m", "jobs.recompute", "--model", "main", "--out", str(cluster.shared / out)]
    command = cluster.ray("job", "submit", "--address", "http://127.0.0.1:8265", "--", sys.executable, *words)
    return cluster.started(cluster.head, f"job-{out}", command, **cluster.token())


def made(cluster: RunningCluster, out: str) -> dict[str, str]:
    """Give the hash of each part of a recompute that is committed."""
    folder = cluster.shared / out
    assert (folder / "manifest.json").exists()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.parquet")}


@pytest.fixture(scope="module")
def calm(cluster) -> dict[str, str]:
    """What the recompute makes when nothing happens."""
    job = recomputed(cluster, "calm")
    assert job.process.wait(JOB_S) == 0, job.text
    return made(cluster, "calm")


def test_a_recompute_that_loses_a_node_makes_the_same_bytes(cluster, calm):
    job = recomputed(cluster, "lost")
    until(
        lambda: cluster.node.processes("ray::_in_task") or job.process.poll() is not None,
        "the node computes a part of it",
        JOB_S,
    )
    assert job.process.poll() is None, job.text
    cluster.node.kill_all()
    assert job.process.wait(JOB_S) == 0, job.text
    parts = made(cluster, "lost")
    assert parts
    assert parts == calm
    cluster.join()
    cluster.until_whole("the node is back")


def test_replicas_of_the_http_face_are_replaced_and_no_request_fails(cluster):
    former = {process.pid for process in cluster.head.processes("ray::ServeReplica")}
    assert len(former) == REPLICAS
    with Load(cluster) as load:
        until(lambda: len(load.answers) > ENOUGH, "requests flow", JOB_S)
        done = cluster.told(
            cluster.head, [sys.executable, "-m", "launch.http", "redeploy"], **cluster.of_engine(), **cluster.token()
        )
        assert done.returncode == 0, done.stderr
        until(
            lambda: not former & {process.pid for process in cluster.head.processes("ray::ServeReplica")},
            "no former replica is left",
            JOB_S,
        )
        count = len(load.answers)
        until(lambda: len(load.answers) > count + ENOUGH, "requests flow on", JOB_S)
    assert load.failed() == {}
    assert len(cluster.head.processes("ray::ServeReplica")) == REPLICAS
    answered(cluster)


@pytest.fixture(scope="module")
def other(cluster):
    """A third host, which has one of the two devices."""
    host = cluster.network.host("other")
    cluster.join(host, ONE)
    cluster.until_whole("there are two nodes")
    return host


def test_of_two_nodes_actors_are_on_the_one_that_has_more_of_their_devices(cluster, other):
    page = cluster.health()
    assert {row["node"]: set(row["devices"]) for row in page["nodes"]} == {
        "head": set(),
        "node": set(BOTH),
        "other": set(ONE),
    }
    for actor in page["actors"]:
        if set(actor["wanted_device"]) == set(BOTH):
            assert actor["placement"]["node"] == "node"
    answered(cluster)
    outposts = cluster.ask("GET", "/messagebus/status").json()["outposts"]
    assert [row["connected"] for row in outposts.values()] == [True, True]


@pytest.mark.parametrize("name", ["node", "other"])
def test_each_of_two_nodes_is_lost_in_turn_and_the_other_has_what_it_can(cluster, other, name):
    lost, devices = {"node": cluster.node, "other": other}[name], cluster.joined[name]
    with Load(cluster) as load:
        until(lambda: len(load.answers) > ENOUGH, "requests flow", JOB_S)
        lost.kill_all()
        until(lambda: f"node:{name}" in cluster.degraded(), "health names the node", JOB_S)
        cluster.until_without({name}, "all actors are on the head and the other node")
        count = len(load.answers)
        until(lambda: len(load.answers) > count + ENOUGH, "requests flow again", JOB_S)
    assert load.unclear() == []
    left = set(cluster.joined["other" if name == "node" else "node"])
    with_devices = {device for actor in cluster.actors().values() for device in actor["placement"]["device"]}
    assert with_devices - {"cpu"} == left
    cluster.join(lost, devices)
    cluster.until_whole("the node is back")
    answered(cluster)


def test_a_recompute_over_three_hosts_makes_the_same_bytes(cluster, other, calm):
    job = recomputed(cluster, "three")
    hosts = {host.name: host for host in (cluster.head, cluster.node, other)}
    computing: set[str] = set()

    def ended() -> bool:
        computing.update(name for name, host in hosts.items() if host.processes("ray::_in_task"))
        return job.process.poll() is not None

    until(ended, "the recompute is done", JOB_S)
    assert job.process.wait() == 0, job.text
    assert computing == hosts.keys()
    assert made(cluster, "three") == calm
