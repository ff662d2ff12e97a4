import os
import stat
import subprocess
import sys

import psutil
import pytest

from engine.ports import PortInUseError, free_port, require_free
from engine.processes import MARK, Known, ProcessRecord, descendants, end, marked
from engine.run_dir import AlreadyRunningError, RunDir, is_held

ORPHANS = """
import subprocess, sys
from engine.processes import adopt_orphans, descendants, end
adopt_orphans()
middle = "import subprocess, sys; print(subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL).pid)"
born = int(subprocess.run([sys.executable, "-c", middle], stdout=subprocess.PIPE, check=True).stdout)
assert [row.pid for row in descendants()] == [born]
end(descendants(), 5.0)
assert descendants() == []
"""


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def known(process) -> Known:
    return Known(process.pid, psutil.Process(process.pid).create_time(), "sleeper")


def test_a_run_directory_is_held_by_one_run_at_a_time(tmp_path):
    first = RunDir(tmp_path)
    first.note(http="http://127.0.0.1:1")
    with pytest.raises(AlreadyRunningError, match=r"http://127\.0\.0\.1:1"):
        RunDir(tmp_path)
    assert is_held(tmp_path)
    first.release()
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "none")
    RunDir(tmp_path).release()


def test_secrets_are_made_once_and_are_their_owners(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    token = run_dir.token_path().read_text()
    assert len(token) == 64
    assert run_dir.token_path().read_text() == token
    assert run_dir.token_path().stat().st_mode & 0o077 == 0
    assert run_dir.path.stat().st_mode & 0o077 == 0
    run_dir.release()


def test_the_short_folder_is_the_same_for_the_same_run_directory_and_drops_old_sessions(tmp_path):
    run_dir = RunDir(tmp_path)
    short = run_dir.short_temp()
    try:
        # HAProxy's longest socket path below it, with a node id of 56 characters, has 97 at most.
        assert len(str(short / "ha" / ("n" * 56) / "metrics.sock")) <= 97
        ray = run_dir.ray_temp()
        for name in ("session_1", "session_2", "session_3"):
            (ray / name).mkdir()
        # Ray opens its own folder to everybody.
        ray.chmod(0o777)
        assert run_dir.ray_temp() == ray
        assert sorted(p.name for p in ray.iterdir()) == ["session_3"]
        assert ray.parent == short
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    finally:
        import shutil

        shutil.rmtree(short)
        run_dir.release()


def test_what_a_killed_run_left_is_ended_by_the_next(tmp_path, sleeper):
    killed = RunDir(tmp_path)
    killed.record.write([known(sleeper)])
    killed.release()
    fresh = RunDir(tmp_path)
    assert fresh.sweep() == ["sleeper"]
    assert not psutil.pid_exists(sleeper.pid)
    assert fresh.sweep() == []
    fresh.release()


def test_what_a_killed_run_had_no_time_to_note_is_found_by_its_mark(tmp_path):
    environment = {**os.environ, MARK: str(tmp_path)}
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as orphan, subprocess.Popen(command, **pipes) as other:
        assert orphan.stdout.readline() == other.stdout.readline() == b"\n"
        assert [row.pid for row in marked(tmp_path)] == [orphan.pid]
        fresh = RunDir(tmp_path)
        assert len(fresh.sweep()) == 1
        assert marked(tmp_path) == []
        assert other.poll() is None
        fresh.release()
        other.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process than the first")
def test_what_loses_its_parent_during_the_end_is_ended_too():
    subprocess.run([sys.executable, "-c", ORPHANS], check=True, timeout=60)


def test_a_process_that_got_the_number_of_an_ended_one_is_left_alone(tmp_path, sleeper):
    record = ProcessRecord(tmp_path / "processes.json")
    record.write([known(sleeper)._replace(began=1.0)])
    assert end(record.read(), 0.1) == []
    assert sleeper.poll() is None


def test_a_record_that_cannot_be_read_is_an_empty_one(tmp_path):
    path = tmp_path / "processes.json"
    path.write_text("{half")
    assert ProcessRecord(path).read() == []


def test_a_process_that_ignores_the_request_is_killed():
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in {row.pid for row in descendants()}
        end([known(process)], 0.1)
        assert not psutil.pid_exists(process.pid)


def test_a_port_in_use_is_named_with_its_holder_and_the_setting():
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} .*(pid \d+).*THE_SETTING"):
            require_free("127.0.0.1", port, "THE_SETTING")
    require_free("127.0.0.1", free_port(), "THE_SETTING")
