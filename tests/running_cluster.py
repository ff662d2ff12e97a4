"""The engine on a cluster of hosts, started as an operator does: a head, nodes, nats-server, then the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
from hosts import Host, Network
from running_engine import ROOT, START_S, until

from engine.nats_server import find_binary

SETTLED_S = 700.0
"""How long the cluster may take to be as wanted again; on two busy cores actors take their time to start."""
NATS_PORT = 4333
LOGIN = {"user": "engine", "password": "of-the-test"}
BOTH = ("neural_engine", "metal_gpu")
"""Devices that a host is said to have."""
AHEAD_S = 60.0
"""So much the node's clock is ahead of the head's: more than a request has time, so that a wrong comparison shows."""
AHEAD = f"""
import time
true, true_ns = time.time, time.time_ns
time.time = lambda: true() + {AHEAD_S}
time.time_ns = lambda: true_ns() + int({AHEAD_S} * 1e9)
"""
PORT = 8300
REPLICAS = 2
BRIDGES = 2
PAUSE_S = 0.2
"""Before somebody who was not let in asks again."""
EXPOSURES = "/factor-exposures/calculate"
RISK = "/portfolio-risk/calculate"
PORTFOLIO = {"portfolio_weights": {"S0003": 0.5, "S0011": 0.5}}


class Started:
    """A command on a host, and what it prints."""

    def __init__(self, host: Host, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self._log, self._from = log, log.stat().st_size if log.exists() else 0
        self.process = host.start(command, log, environment, ROOT)

    @property
    def text(self) -> str:
        return self._log.read_bytes()[self._from :].decode(errors="replace")

    def said(self, what: str, seconds: float) -> bool:
        """Wait until it prints something; false when it ended before."""
        until(lambda: what in self.text or self.process.poll() is not None, f"{what!r} in {self._log.name}", seconds)
        return what in self.text

    def ends_within(self, seconds: float) -> bool:
        """Say whether it ends by itself: a part of it that could not start is found out within a second."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


class RunningCluster:
    """A head and nodes that have devices; run directory, market and logs are in a folder that all see.

    Parameters
    ----------
    environment
        Of all that is started, on top of this process's.

    Attributes
    ----------
    joined
        The nodes that are in the cluster: name: devices.
    mains
        The command of each host that was started last, by `lead` and `join`: systemd's main process of it.
    """

    def __init__(self, **environment: str) -> None:
        self.shared = Path(tempfile.mkdtemp(prefix="fe-cluster-", dir="/var/tmp"))  # each host's /tmp is its own
        self.run_dir = self.shared / "run"
        self.network = Network()
        self.head, self.node = self.network.host("head"), self.network.host("node")
        self.nats = self.head
        self.joined: dict[str, tuple[str, ...]] = {}
        self.mains: dict[str, Started] = {}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "FACTOR_ENGINE_"))}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "HOME": "/nonexistent",  # no token of Ray's from there
            "FACTOR_ENGINE_RUN_DIR": str(self.run_dir),
            "RAY_worker_niceness": "0",
            **environment,
        }
        self.engine: Started | None = None

    def close(self) -> None:
        self.network.close()
        shutil.rmtree(self.shared, ignore_errors=True)

    # -- start

    def started(self, host: Host, name: str, command: list[str], **environment: str) -> Started:
        return Started(host, command, self.shared / f"{name}.log", {**self.environment, **environment})

    def start_nats(self, host: Host | None = None) -> None:
        """Start the operator's nats-server, by default on the head, where all hosts reach it."""
        self.nats = host or self.head
        users = f"[{{user: {LOGIN['user']}, password: {LOGIN['password']}}}]"
        config = self.shared / "nats.conf"
        config.write_text(
            f"listen: 0.0.0.0:{NATS_PORT}\njetstream {{store_dir: {self.shared / 'jetstream'}}}\n"
            f"authorization {{users: {users}}}\n"
        )
        server = self.started(self.nats, "nats", [str(find_binary()), "-c", str(config)])
        assert server.said("Server is ready", START_S), server.text

    def lead(self) -> None:
        """Make the head."""
        self._node(self.head, "head", ["-m", "launch.node", "--lead", "--block"])

    def join(self, host: Host | None = None, devices: Sequence[str] = BOTH) -> None:
        """Have a node join, by default the first, with devices that it does not have; its Python's clock is fast."""
        host = host or self.node
        self.joined[host.name] = tuple(devices)
        self._node(host, host.name, self.joining(devices), **self.ahead())

    def joining(self, devices: Sequence[str]) -> list[str]:
        """Give the words behind Python that make a host a node with devices that it does not have."""
        offer = dict.fromkeys(devices, 1.0)
        join = f"launch.node.main(['--block', '--head', {self.head.address!r}])"
        return ["-c", f"import engine.node, launch.node; engine.node.device_resources = lambda: {offer}; {join}"]

    def ahead(self) -> dict[str, str]:
        """Give the environment in which Python's clock is fast."""
        ahead = self.shared / "ahead"
        ahead.mkdir(exist_ok=True)
        (ahead / "sitecustomize.py").write_text(AHEAD)  # Python imports it before anything else
        return {"PYTHONPATH": f"{ahead}{os.pathsep}{ROOT}"}

    def _node(self, host: Host, name: str, words: list[str], **environment: str) -> None:
        """Start Ray on a host as systemd does: again when it did not come up in the time that Ray gives it."""
        for _ in range(5):
            node = self.mains[name] = self.started(host, name, [sys.executable, *words], **environment)
            if node.said("will now block forever", START_S) and not node.ends_within(3.0):
                return
            host.kill_all("ray")
        raise AssertionError(node.text)

    def of_engine(self) -> dict[str, str]:
        """Give the settings of the engine, as ``/etc/factor-engine.env`` has them."""
        return {
            "RAY_ADDRESS": "127.0.0.1:6379",
            "FACTOR_ENGINE_NATS_URL": self.nats_url,
            "FACTOR_ENGINE_NATS_USER": LOGIN["user"],
            "FACTOR_ENGINE_NATS_PASSWORD": LOGIN["password"],
            "FACTOR_ENGINE_BRIDGES": str(BRIDGES),
            "FACTOR_ENGINE_NODE_BRIDGES": "1",
            "FACTOR_ENGINE_HTTP_REPLICAS": str(REPLICAS),
            "FACTOR_ENGINE_ACTOR_READY_TIMEOUT_S": "300",
        }

    def start_engine(self, market: Path) -> None:
        """Put the engine on the cluster."""
        command = [sys.executable, "-m", "launch", "--data", str(market)]
        self.engine = self.started(self.head, "engine", command, **self.of_engine())
        assert self.engine.said("Ready after", START_S), self.engine.text

    @property
    def nats_url(self) -> str:
        return f"nats://{self.nats.address}:{NATS_PORT}"

    # -- ask

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask over HTTP, on the head."""
        return self.head.within(_ask, method, path, **more)

    def health(self) -> dict[str, Any]:
        return self.ask("GET", "/health").json()

    def actors(self) -> dict[str, dict[str, Any]]:
        """Give the actors by workload."""
        return {actor["workload"]: actor for actor in self.health()["actors"]}

    def degraded(self) -> dict[str, str]:
        return {row["component"]: row["reason"] for row in self.health()["degraded"]}

    def until_whole(self, what: str) -> None:
        """Wait until nothing is degraded, all nodes are there, and every actor is where most of its devices are."""
        self._until(what, lambda page: page["status"] == "healthy" and self._as_wanted(page, set(self.joined)))

    def until_healthy(self, what: str) -> None:
        """Wait until nothing is degraded, all nodes are there, and every actor is READY, on whichever of them."""

        def healthy(page: dict[str, Any]) -> bool:
            there = {row["node"] for row in page["nodes"]} == {"head", *self.joined}
            return page["status"] == "healthy" and there and all(a["state"] == "READY" for a in page["actors"])

        self._until(what, healthy)

    def until_without(self, lost: set[str], what: str) -> None:
        """Wait until every actor is READY on the other nodes, and only the lost ones and what stood there are named."""

        def without(page: dict[str, Any]) -> bool:
            named = [row for row in page["degraded"] if not row["component"].startswith(("node:", "outpost:"))]
            return not named and self._as_wanted(page, set(self.joined) - lost)

        self._until(what, without)

    def until_alone(self, what: str) -> None:
        """Wait until every actor is READY on the head."""
        self.until_without(set(self.joined), what)

    def _as_wanted(self, page: dict[str, Any], nodes: set[str]) -> bool:
        """Say whether just these nodes beside the head are there, and the actors as is best on them."""
        devices = {"head": set(), **{name: set(self.joined[name]) for name in nodes}}
        return {row["node"] for row in page["nodes"]} == devices.keys() and all(
            actor["state"] == "READY" and _placed(actor, devices) for actor in page["actors"]
        )

    def _until(self, what: str, condition: Any) -> None:
        seen: dict[str, Any] = {}

        def holds() -> bool:
            try:
                seen.update(self.health())
                return bool(seen.get("actors")) and condition(seen)  # without a router it is a problem document
            except (httpx.HTTPError, ValueError):
                return False

        try:
            until(holds, what, SETTLED_S)
        except AssertionError as error:
            rows = [(a["workload"], a["state"], a["placement"]["node"], a["reason"]) for a in seen.get("actors", [])]
            raise AssertionError(f"{error}\n{seen.get('degraded')}\n{rows}") from None

    # -- jobs

    def ray(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("ray")), *words]

    def token(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.run_dir / "ray" / "token")}

    def told(self, host: Host, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end."""
        return subprocess.run(
            host.command(command),
            env={**self.environment, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SETTLED_S,
            check=False,
        )


def _placed(actor: dict[str, Any], nodes: Mapping[str, set[str]]) -> bool:
    """Say whether an actor has as many of the devices that it wants as one of the nodes has."""
    wanted, has = set(actor["wanted_device"]) - {"cpu"}, set(actor["placement"]["device"]) - {"cpu"}
    where = nodes.get(actor["placement"]["node"])
    return where is not None and has <= where and len(has) == max(len(wanted & offer) for offer in nodes.values())


def _ask(method: str, path: str, **more: Any) -> httpx.Response:
    url = f"http://127.0.0.1:{PORT}{path}"
    return httpx.request(method, url, **{"timeout": 60.0, "trust_env": False, **more})


class Load:
    """Requests to the head's HTTP face, one after the other on each of some threads, until the block ends."""

    def __init__(self, cluster: RunningCluster, threads: int = 2) -> None:
        self.threads = threads
        self.answers: list[httpx.Response | Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(cluster.head,), daemon=True) for _ in range(threads)]

    def _run(self, host: Host) -> None:
        host.enter()
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self.answers.append(_ask("POST", (EXPOSURES, RISK)[number % 2], json=PORTFOLIO))
            except httpx.HTTPError as error:
                self.answers.append(error)
                self._stop.wait(PAUSE_S)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def unclear(self) -> list[str]:
        """List what was neither an answer nor a problem that says what is wrong and that asking again helps."""
        return [text for one in self.answers if (text := fault(one)) is not None]

    def cut_off(self) -> int:
        """Count those whose connection ended without a word, as HAProxy tells of a worker that died over a request."""
        return sum(isinstance(one, httpx.RemoteProtocolError) for one in self.answers)

    def failed(self) -> Counter[str]:
        """Count what was no answer, by its kind."""
        return Counter(
            repr(one) if isinstance(one, Exception) else f"{one.status_code} {one.text[:300]}"
            for one in self.answers
            if isinstance(one, Exception) or one.status_code != 200
        )


def fault(one: httpx.Response | Exception) -> str | None:
    if isinstance(one, Exception):
        return repr(one)
    if one.status_code == 200:
        return None
    problem = one.json() if "json" in one.headers.get("content-type", "") else {}
    clear = one.status_code in (408, 503, 504) and problem.get("retryable") is True and problem.get("detail")
    return None if clear else f"{one.status_code} {one.text[:300]}"
