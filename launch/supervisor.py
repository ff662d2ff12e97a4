"""`make run`: one process without Ray that keeps a run; it starts every part, watches them, and ends all of them.

Ray's libraries end the process that hosts them when they see fit. So this one imports none of them: Ray's own processes
(`engine.ray_head`), nats-server, and the process that starts the engine on them (`launch.foreground`) are its children.
They end with it by the kernel's hand where it does so, else by the record; what comes of Ray does not matter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from contracts.access import keep_external, nats_access
from contracts.errors import EngineError
from contracts.settings import TOKENS, Settings, environment_of, settings
from contracts.tokens import known_tokens, of_environment, on_loopback, to_environment
from engine import cluster, descriptors, haproxy, joined, kernel_cache, ray_head
from engine.children import last_line, reap, spawn
from engine.errors import StartError
from engine.nats_server import NatsServer
from engine.ports import free_port, require_free
from engine.processes import MARK, Known, adopt_orphans, descendants, end, marked
from engine.run_dir import RunDir, starting
from launch import console as show
from launch.nats_keeper import NatsKeeper
from launch.options import Place, parse
from launch.signals import Signals, Stopped

STOP_LIMIT_S = 9.0
LEAVE_S = 5.0
NATS_STOP_S = 1.0
GRACE_S = 0.5
"""These add up to less than `STOP_LIMIT_S`, after which everything is killed unasked."""
TICK_S = 1.0
RECORD_S = 5.0
PLAYER_LOG = "replay.log"


def main(arguments: Sequence[str]) -> int:
    """Run until a signal ends it; the exit code is 1 when the engine could not start, or Ray ended by itself."""
    options = parse(arguments)
    signals = Signals()
    signals.take()
    console = show.make_console()
    try:
        if "RAY_ADDRESS" in os.environ:  # before the run directory is held, which a head on its way needs
            joined.require(os.environ["RAY_ADDRESS"])
        run_dir = RunDir(settings().run_dir)
    except (StartError, OSError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    supervisor = Supervisor(settings(), run_dir, arguments, console, signals)
    try:
        if options.data is not None and not options.data.is_file():
            raise StartError(f"DATA: there is no file {options.data}")
        if options.live not in (None, "1") and not Path(options.live).is_file():
            raise StartError(f"LIVE: there is no file {options.live}; 1 makes a market of ticks")
        code = supervisor.start()
        if code == 0:
            supervisor.watch()
    except Stopped:
        code = 0
    except (StartError, EngineError, OSError) as error:
        console.print(f"cannot go on: {error}", style="red", markup=False, soft_wrap=True)
        code = 1
    finally:
        supervisor.stop()
    return code


class Supervisor:
    """One run: its children as they come up, in the order in which they are ended."""

    def __init__(
        self, current: Settings, run_dir: RunDir, arguments: Sequence[str], console: Console, signals: Signals
    ) -> None:
        self.current = current
        self.run_dir = run_dir
        self.arguments = list(arguments)
        self.console = console
        self.signals = signals
        self.known: set[Known] = set()
        self.ray: subprocess.Popen[bytes] | None = None
        self.starter: subprocess.Popen[bytes] | None = None
        self.nats: NatsKeeper | None = None
        self.player: subprocess.Popen[bytes] | None = None
        self.line: joined.Line | None = None
        self._has_joined = False
        self.place = Place(None, None, {}, time.time())
        self._recorded_at = 0.0
        self._temp_lock: int | None = None

    # -- start

    def start(self) -> int:
        """Start everything, and wait until the engine is ready; gives the exit code of the process that starts it."""
        adopt_orphans()
        self.run_dir.note(http=self.current.http_url)
        left = self.run_dir.sweep()
        if left:
            self._tell(f"ended what a killed run left behind: {', '.join(left)}")
        joined.note(self.run_dir.path, None)
        os.environ[MARK] = str(self.run_dir.path)
        self._require_tokens()
        keep_external(self.current, forget=True)
        for name in ("FACTOR_ENGINE_NATS_PASSWORD", "FACTOR_ENGINE_NATS_TOKEN"):
            os.environ.pop(name, None)
        if not self._proxy_stands():
            require_free(self.current.http_host, self.current.http_port, "FACTOR_ENGINE_HTTP_PORT")
        less = descriptors.prepare()
        if less is not None:
            self._tell(less)
        os.environ.update(environment_of(self.current))
        if kernel_cache.prepare(self.run_dir.path):
            self._until_done([sys.executable, "-m", "factors.warm"])
        ports = cluster.prepare_environment(self.current, self.run_dir)
        self.place = self.place._replace(ports=ports)
        if not self._on_cluster:
            self._start_ray()
        self._start_nats()
        command = [sys.executable, "-m", "launch.foreground", self.place.packed(), *self.arguments]
        code = self._until_done(command)
        if code == 0:
            self._has_joined = self._on_cluster
            self._note_all()
            self._play()
        return code

    @property
    def _on_cluster(self) -> bool:
        return "RAY_ADDRESS" in os.environ

    def _proxy_stands(self) -> bool:
        """Say whether the HTTP proxy of a run before this one is there: on a cluster it is the cluster's, and stays."""
        return self._on_cluster and haproxy.holds(self.current.http_port, self.run_dir.path)

    def _play(self) -> None:
        """Play a market of ticks, where that was asked for."""
        options = parse(self.arguments)
        if options.live is None:
            return
        recorded = [] if options.live == "1" else ["--data", options.live]
        command = [sys.executable, "-m", "jobs.replay", "--speed", str(options.speed), "--again", *recorded]
        self.player = spawn(command, output=self.run_dir.path / PLAYER_LOG)

    def _require_tokens(self) -> None:
        """Refuse to listen where others reach us while nobody needs a token; children get hashes of what was given."""
        known = known_tokens(self.current)
        if not known and not on_loopback(self.current.http_host):
            raise StartError(
                f"{self.current.http_host} can be reached from other machines, and no token is there: "
                "python -m launch token add NAME --scope admin makes one"
            )
        if self.current.tokens is not None:
            os.environ[TOKENS] = to_environment(of_environment(self.current.tokens.get_secret_value()))

    def _note_all(self) -> None:
        """Note where everything listens, for tools: what notes it is ready."""
        access = nats_access(self.current) if self.current.messagebus_enabled else None
        if self.place.temp is None:
            ray = os.environ.get("RAY_ADDRESS")
        else:
            ray = Path(self.place.temp, ray_head.ADDRESS_FILE).read_text()
        self.run_dir.note(
            http=self.current.http_url,
            dashboard=self.place.dashboard,
            nats=access.public_url if access is not None else None,
            ray=ray,
        )

    def _until_done(self, command: Sequence[str]) -> int:
        """Let a step of the start be done by a child; gives its exit code."""
        self.starter = spawn(command)
        while (code := self.starter.poll()) is None:
            self._look()
            self.signals.wait(TICK_S)
        self.starter = None
        if code < 0:
            raise StartError(f"{' '.join(command[1:3])} was ended by {signal.Signals(-code).name}")
        return code

    @property
    def _ray_log(self) -> Path:
        return self.run_dir.path / "ray" / "head.log"

    def _start_ray(self) -> None:
        # Cleaners of temporary folders (systemd-tmpfiles) leave alone what is locked.
        self._temp_lock = os.open(self.run_dir.short_temp(), os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(self._temp_lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        temp = self.run_dir.ray_temp()
        (temp / ray_head.ADDRESS_FILE).unlink(missing_ok=True)
        port = free_port()
        options = {
            "temp_dir": str(temp),
            "dashboard_port": port,
            "object_store_bytes": self.current.object_store_mb * 2**20,
            "num_cpus": self.current.ray_num_cpus,
        }
        self.ray = spawn(ray_head.command(options), output=self._ray_log)
        self.place = self.place._replace(temp=str(temp), dashboard=f"http://127.0.0.1:{port}")

    def _start_nats(self) -> None:
        if not self.current.messagebus_enabled or self.current.nats_url is not None:
            return
        server = NatsServer(self.current.run_dir, self.current.nats_port, ends_with_starter=True)
        self.nats = NatsKeeper(server, self._tell, lambda: self.signals.asked)
        with starting(self.run_dir.path):
            server.start(given_up=lambda: self.signals.asked)

    # -- watch

    def watch(self) -> None:
        """Stay until a signal comes; start again what can be, and end with Ray."""
        while True:
            self.signals.wait(TICK_S)
            self._look()

    def _look(self) -> None:
        reap([self.ray, self.starter, self.player, self.nats.server.process if self.nats is not None else None])
        if self.player is not None and self.player.poll() is not None:
            why = last_line(self.run_dir.path / PLAYER_LOG) or f"exit code {self.player.returncode}"
            self._tell(f"the replay of ticks ended: {why}")
            self.player = None
        if self.ray is not None and self.ray.poll() is not None:
            why = last_line(self._ray_log) or f"exit code {self.ray.returncode}"
            raise StartError(f"{why}; Ray's logs are in {self.place.temp}/session_latest/logs")
        if self.line is None and self._on_cluster:
            self.line = joined.Line.to_noted(self.run_dir.path)
        if self.line is not None and not self.line.holds():
            raise StartError("the Ray that RAY_ADDRESS names ended on this machine, and the engine with it")
        if self.nats is not None:
            self.nats.look()
        if self.place.temp is not None:
            self._look_at_temp(Path(self.place.temp).parent)
        if time.monotonic() - self._recorded_at > RECORD_S:
            self._remember()

    def _look_at_temp(self, temp: Path) -> None:
        """Mend the short way to HAProxy's sockets, which a cleaner of temporary folders may remove."""
        if not temp.exists() or not os.environ.get("RAY_SERVE_HAPROXY_SOCKET_PATH", "").startswith(f"{temp}/"):
            return
        with contextlib.suppress(OSError):
            if haproxy.mend_link(temp / haproxy.LINK, self.run_dir.path / "haproxy"):
                self._tell(f"somebody removed {temp / haproxy.LINK}; it is there again")

    def _remember(self) -> None:
        """Keep the list of our processes, for the end of this run and, were it killed, for the next.

        A list that cannot be written is done without: every process carries the mark of the run.
        """
        self._recorded_at = time.monotonic()
        self.known = {row for row in {*self.known, *descendants()} if row.process() is not None}
        with contextlib.suppress(OSError):
            self.run_dir.record.write(self.known)

    def _tell(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

    # -- stop

    def stop(self) -> None:
        """End everything that this run started, and check that it is gone."""
        began = time.monotonic()
        # Whatever hangs on the way down, the run ends.
        watchdog = threading.Timer(STOP_LIMIT_S, self._kill_all)
        watchdog.daemon = True
        watchdog.start()
        started = self._has_joined or any(part is not None for part in (self.ray, self.starter, self.nats))
        if started:
            self._tell("stopping")
        if self.starter is not None:
            self.starter.kill()
            self.starter.wait()
        elif self._has_joined and (self.line is None or self.line.holds()):
            self._leave()
        self.known.update(descendants())
        if self.nats is not None:
            self.nats.server.stop(NATS_STOP_S)
        end(self.known | self._ours(), GRACE_S)
        # What Ray was about to start when it was asked to end.
        until = time.monotonic() + GRACE_S
        while (left := self._ours()) and time.monotonic() < until:
            end(left, 0.0)
        with contextlib.suppress(OSError):
            self.run_dir.record.clear()
        self.run_dir.release()
        watchdog.cancel()
        if started:
            self._tell(f"stopped in {time.monotonic() - began:.1f} s")

    def _leave(self) -> None:
        """Take the engine off a cluster that is not ours."""
        child = spawn([sys.executable, "-m", "launch.foreground", "--leave"])
        try:
            child.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            self._tell("the cluster did not let go of the engine in time; python -m engine stop does it")

    def _ours(self) -> set[Known]:
        found = {*descendants(), *marked(self.run_dir.path)}
        return {row for row in found if row.process() is not None}

    def _kill_all(self) -> None:
        """Kill everything that is known of, and this process; the next run finds what was missed by its mark."""
        try:
            end(self.known | self._ours(), 0.0)
        finally:
            os._exit(1)
