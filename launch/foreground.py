"""`make run`: one foreground process tree that starts everything, shows it, and ends all of it within ten seconds."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from rich.console import Console

from contracts.errors import EngineError, first_line
from contracts.settings import Settings, environment_of, settings
from contracts.work import State
from engine import market as markets
from engine.errors import StartError
from engine.ports import require_free
from engine.processes import MARK, Known, adopt_orphans, descendants, end, marked
from engine.run_dir import RunDir
from launch import console as show

READY_S = 120.0
"""How long the actors may take before the table is shown with what there is."""
HTTP_S = 60.0
STOP_LIMIT_S = 9.0
RAY_STOP_S = 3.0
NATS_STOP_S = 1.0
GRACE_S = 0.5
"""These add up to less than `STOP_LIMIT_S`, after which everything is killed unasked."""
INSIST_S = 0.25
TICK_S = 1.0
RECORD_EVERY = 5
NATS_PAUSE_S = 10.0
"""After nats-server ended, so long passes before it is started again: long enough to be seen, and no storm."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


T = TypeVar("T")


class Stopped(BaseException):
    """The operator ended the run; raised where the main thread is."""


def main(arguments: Sequence[str]) -> int:
    """Run until a signal ends it; the exit code is 1 when the engine could not start."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--data", type=Path, help="Parquet, CSV or Arrow file to load instead of the sample market")
    parser.add_argument(
        "--settings", type=Path, help="model settings in TOML; the table [intake] says how DATA is read"
    )
    parser.add_argument("--model", help="name of the model that the market becomes (default: main, or sample)")
    options = parser.parse_args(arguments)
    console = show.make_console()
    try:
        run_dir = RunDir(settings().run_dir)
    except (StartError, OSError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    run = _Run(settings(), run_dir, options, console)
    try:
        with run.interrupts:
            run.start()
            run.show()
            run.watch()
    except (Stopped, SystemExit):
        # While Ray starts it takes SIGTERM for itself, and leaves by SystemExit.
        return 0
    except (StartError, EngineError) as error:
        console.print(f"cannot start: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except Exception as error:  # noqa: BLE001  # a person at a terminal gets the stage and the reason, not our stack
        console.print(f"cannot start: {run.explain(error)}", style="red", markup=False, soft_wrap=True)
        return 1
    finally:
        run.stop()
    return 0


class Interrupts:
    """Turns the first signal into `Stopped` where the main thread is; later ones change nothing, as the end is near.

    An exception raised by a signal handler is lost when it strikes inside a callback that swallows exceptions, so it is
    raised again and again until the block is left.

    Parameters
    ----------
    last_resort
        Called when the end takes longer than `STOP_LIMIT_S`.
    """

    def __init__(self, last_resort: Callable[[], None]) -> None:
        self._last_resort = last_resort

    def __enter__(self) -> None:
        self.install()
        signal.signal(signal.SIGALRM, self._again)

    def install(self) -> None:
        """Take the signals; again after Ray started, which takes SIGTERM for itself."""
        for number in SIGNALS:
            signal.signal(number, self._first)

    def _first(self, _number: int, _frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        # Whatever hangs on the way down, the run ends.
        watchdog = threading.Timer(STOP_LIMIT_S, self._last_resort)
        watchdog.daemon = True
        watchdog.start()
        signal.setitimer(signal.ITIMER_REAL, INSIST_S, INSIST_S)
        raise Stopped

    @staticmethod
    def _again(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class _Run:
    """One run: its parts as they come up, in the order in which they are ended."""

    def __init__(self, current: Settings, run_dir: RunDir, options: argparse.Namespace, console: Console) -> None:
        self.current = current
        self.run_dir = run_dir
        self.options = options
        self.console = console
        self.known: set[Known] = set()
        self.cluster: Any = None
        self.connection: Any = None
        self.loop: Any = None
        self.nats: Any = None
        self.nats_starts: Future[None] | None = None
        self.market: markets.Market | None = None
        self.model: dict[str, Any] | None = None
        self.began = time.monotonic()
        self.stages: show.Progress | None = None
        self.interrupts = Interrupts(self._kill_all)

    # -- start

    def start(self) -> None:
        """Start everything; what does not depend on each other at the same time."""
        self.run_dir.note(http=self.http)
        left = self.run_dir.sweep()
        if left:
            self.console.print(f"ended what a killed run left behind: {', '.join(left)}", markup=False)
        os.environ[MARK] = str(self.run_dir.path)
        if self.options.data is not None:
            markets.require_columns(
                self.options.data, self.run_dir.path, self.options.settings
            )  # before anything is started for it
        require_free(self.current.http_host, self.current.http_port, "FACTOR_ENGINE_HTTP_PORT")
        os.environ.update(environment_of(self.current))
        from engine import cluster

        ports = cluster.prepare_environment(self.current, self.run_dir)
        with show.Progress(self.console) as self.stages:
            self._start(ports)

    def _start(self, ports: dict[str, int]) -> None:
        from engine import cluster
        from engine import start as engine

        market = _beside(self._read_market)
        nats = self.nats_starts = _beside(self._start_nats)
        # On the main thread: on Linux, Ray's daemons end with the thread that started them.
        with self._stage("Ray") as stage:
            self.cluster = cluster.connect(self.current, self.run_dir, ports)
            self.interrupts.install()
            stage.detail = f"{'started' if self.cluster.local else 'joined'} {self.cluster.address}"
        self._remember()
        http = _beside(self._start_http)
        nats.result()
        first = _beside(self._start_actors)
        self.market = market.result()
        first.result()
        self._load()
        http.result()
        self.loop.run(engine.start_rest(self.current, self.connection))
        self._remember()
        self._all_ready()
        self.loop.run(engine.warm_library(self.connection, self.market.model_id))
        self._remember()

    def _stage(self, name: str) -> contextlib.AbstractContextManager[show.Stage]:
        assert self.stages is not None
        return self.stages.stage(name)

    def _read_market(self) -> markets.Market:
        with self._stage("market") as stage:
            market = markets.take(self.options.data, self.run_dir.path, self.options.model, self.options.settings)
            stage.detail = market.source
            return market

    def _start_nats(self) -> None:
        from engine import start as engine

        with self._stage("nats-server") as stage:
            if not self.current.messagebus_enabled:
                stage.detail = "switched off"
            elif self.current.nats_url is not None:
                stage.detail = "the operator's"
            else:
                self.nats = engine.start_nats(self.current)
                stage.detail = self.nats.access.public_url

    def _start_http(self) -> None:
        from engine import cluster

        with self._stage("HTTP") as stage:
            import serve_app

            application = serve_app.app
            if not self.cluster.local:
                env = {"env_vars": environment_of(self.current)}
                options = {"num_cpus": 0, "runtime_env": env}
                application = serve_app.deployment.options(ray_actor_options=options).bind()
            cluster.serve_http(application, self.current, serve_app.NAME)
            cluster.until_http_answers(self.http, HTTP_S)
            stage.detail = self.http

    def _start_actors(self) -> None:
        from engine import start as engine

        with self._stage("router and first actors") as stage:
            self.loop = engine.LoopThread()
            engine.start_engine(self.current, hold_rest=True, with_nats=False)
            self.connection = self.loop.run(engine.connect(self.current))
            self.loop.run(self.connection.client.wait_ready(engine.FIRST, READY_S))
            stage.detail = ", ".join(sorted(engine.FIRST))

    def _load(self) -> None:
        from engine import start as engine

        assert self.market is not None
        with self._stage(f"model {self.market.model_id}") as stage:
            self.model = self.loop.run(engine.load_market(self.connection, self.market))
            stage.detail = f"version {self.model['model_version']}"

    def _all_ready(self) -> None:
        from engine import start as engine

        with self._stage("all actors") as stage:
            try:
                self.loop.run(self.connection.client.wait_ready(engine.ALL, READY_S))
                stage.detail = f"{len(engine.ALL)} READY"
            except EngineError as error:
                stage.detail = str(error)

    def _remember(self) -> None:
        """Keep the list of our processes, for the end of this run and, were it killed, for the next."""
        self.known.update(descendants())
        pid = self.nats.pid if self.nats is not None else None
        self.known.update(row for row in _processes(pid))
        self.run_dir.record.write(self.known)

    def explain(self, error: Exception) -> str:
        """Say which stage failed, why, and where more is to be read; the whole stack goes into a file."""
        failed = self.stages.failed() if self.stages is not None else []
        path = self.run_dir.path / "start-error.txt"
        path.write_text("".join(traceback.format_exception(error)))
        return f"{', '.join(failed) or 'start'}: {first_line(error)} (more in {path})"

    # -- show

    @property
    def http(self) -> str:
        """The HTTP face's URL."""
        host = "127.0.0.1" if self.current.http_host in ("0.0.0.0", "::") else self.current.http_host  # noqa: S104
        return f"http://{host}:{self.current.http_port}"

    def show(self) -> None:
        """Print the table: where things listen, the actors, the models, and what to try."""
        self.run_dir.note(
            http=self.http, dashboard=self.cluster.dashboard, nats=self._nats_url(), ray=self.cluster.address
        )
        health = self.loop.run(self.connection.client.health())
        models = self.loop.run(_models(self.connection))
        parts = (
            show.places(self._places()),
            show.actors([_actor_row(actor) for actor in health["actors"]]),
            show.models(models),
        )
        self.console.print()
        for part in parts:
            self.console.print(part)
        for title, lines in (("Try", self._examples()), ("Recompute history as a Ray job", self._job())):
            show.commands(self.console, title, lines)
        took = time.monotonic() - self.began
        self.console.print(f"Ready after {took:.0f} s. Ctrl-C ends everything.", style="bold", markup=False)

    def _places(self) -> list[tuple[str, str]]:
        rows = [("HTTP", self.http), ("documentation", f"{self.http}/docs"), ("health", f"{self.http}/health")]
        nats = self._nats_url()
        rows.append(("NATS", nats or "switched off"))
        if self.nats is not None:
            rows.append(("NATS log-in", f"{self.run_dir.path}/nats/access.json (only you can read it)"))
        if self.cluster.dashboard is not None:
            rows.append(("Ray dashboard, jobs", f"{self.cluster.dashboard} (token in {self.run_dir.token_path()})"))
        rows.append(("Ray", self.cluster.address))
        rows.extend((name, f"127.0.0.1:{port}, read-only") for name, port in self.cluster.ports.items())
        rows.append(("run directory", str(self.run_dir.path)))
        if self.cluster.temp is not None:
            rows.append(("logs", f"{self.cluster.temp}/session_latest/logs"))
        return rows

    def _examples(self) -> list[str]:
        """Give three commands that work as they stand, with symbols of the loaded market."""
        assert self.market is not None
        symbols = self.market.largest
        weights = [0.5, 0.3, 0.2][: len(symbols)]
        portfolio = ", ".join(f'"{symbol}": {weight}' for symbol, weight in zip(symbols, weights, strict=True))
        body = shlex.quote(f'{{"portfolio_weights": {{{portfolio}}}}}')
        post = "-H 'content-type: application/json' -d"
        return [
            f"curl -s {self.http}/factor-exposures/calculate {post} {body}",
            f"curl -s {self.http}/portfolio-risk/calculate {post} {body}",
            f"curl -s {self.http}/portfolio-attribution/calculate {post} {body}",
        ]

    def _job(self) -> list[str]:
        """Give the exact line that submits the recompute job."""
        assert self.market is not None
        if self.cluster.no_jobs is not None:
            return [self.cluster.no_jobs]
        ray = Path(sys.executable).with_name("ray")
        secret = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={shlex.quote(str(self.run_dir.token_path()))} "
        access = secret if os.environ.get("RAY_AUTH_MODE") == "token" else ""
        job = f"{sys.executable} -m jobs.recompute {self.market.model_id}"
        return [f"{access}{ray} job submit --address {self.cluster.dashboard} -- {job}"]

    def _nats_url(self) -> str | None:
        from contracts.access import nats_access

        access = nats_access(self.current) if self.current.messagebus_enabled else None
        return access.public_url if access is not None else None

    # -- watch

    def watch(self) -> None:
        """Stay until a signal comes; say when a part ends, and start nats-server again."""
        down_since: float | None = None
        for tick in range(sys.maxsize):
            time.sleep(TICK_S)
            if tick % RECORD_EVERY == 0:
                self._remember()
            if self.cluster.local and not self._ray_lives():
                raise StartError(f"Ray ended by itself; its logs are in {self.cluster.temp}/session_latest/logs")
            if self.nats is None or self.nats.pid is not None:
                down_since = None
                continue
            if down_since is None:
                down_since = time.monotonic()
                self.console.print(f"nats-server ended; it is started again in {NATS_PAUSE_S:g} s", markup=False)
            elif time.monotonic() - down_since > NATS_PAUSE_S:
                self._restart_nats()
                down_since = None

    def _ray_lives(self) -> bool:
        names = {"raylet", "gcs_server"}
        ours = [row for row in self.known if row.name in names]
        return all(row.process() is not None for row in ours)

    def _restart_nats(self) -> None:
        try:
            self.nats.start()
            self.console.print("nats-server is back", markup=False)
        except EngineError as error:
            self.console.print(str(error), style="red", markup=False, soft_wrap=True)

    # -- stop

    def stop(self) -> None:
        """End everything that this run started, in reverse order, and check that it is gone."""
        began = time.monotonic()
        adopt_orphans()
        if self.nats_starts is not None:
            # A server on its way is nobody's child for a moment.
            with contextlib.suppress(Exception):
                self.nats_starts.result(NATS_STOP_S)
        self.known.update(descendants())
        if self.cluster is None and self.nats is None:
            end(self.known, GRACE_S)
            self.run_dir.release()
            return
        self.console.print("stopping", markup=False)
        if self.loop is not None:
            # Calls under way when Ray is shut down would abort the process.
            self.loop.stop(0.5)
        if self.cluster is not None:
            self._bounded(self._stop_ray, RAY_STOP_S)
        if self.nats is not None:
            self._bounded(self.nats.stop, NATS_STOP_S)
        end(self.known | self._ours(), GRACE_S)
        # A step of the start that was still under way may have begun something meanwhile.
        until = time.monotonic() + GRACE_S
        while (left := self._ours()) and time.monotonic() < until:
            end(left, 0.0)
        self.run_dir.record.clear()
        self.run_dir.release()
        self.console.print(f"stopped in {time.monotonic() - began:.1f} s", markup=False)

    def _ours(self) -> set[Known]:
        found = {*descendants(), *marked(self.run_dir.path)}
        return {row for row in found if row.process() is not None}

    def _bounded(self, work: Callable[[], object], limit_s: float) -> None:
        """Do a step of the end for at most `limit_s` seconds; what it leaves is killed afterwards."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(limit_s)

    def _kill_all(self) -> None:
        """Kill everything that is known of, and this process; the next run finds what was missed in the record."""
        try:
            end(self.known | self._ours(), 0.0)
        finally:
            os._exit(1)

    def _stop_ray(self) -> None:
        import ray

        if self.cluster.local:
            ray.shutdown()
            return
        from ray import serve

        import serve_app
        from engine import start as engine

        serve.delete(serve_app.NAME, _blocking=False)
        engine.stop_engine(self.current)
        ray.shutdown()


def _beside(work: Callable[[], T]) -> Future[T]:
    """Do a step on a thread of its own, which does not hold up the end of the process."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return future


def _processes(pid: int | None) -> list[Known]:
    import psutil

    if pid is None:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [Known(pid, process.create_time(), process.name())]
    return []


def _actor_row(actor: dict[str, Any]) -> dict[str, Any]:
    """Give one actor's row: placement until it computed something, then the device that ran."""
    placed = actor["placement"]["device"]
    return {
        "name": actor["workload"],
        "wanted": ", ".join(actor["wanted_device"]),
        "actual": actor["device"] or ", ".join(placed),
        "state": actor["state"],
        # Why an actor that works is where it is, /health says; here it would only fill the screen.
        "reason": "" if actor["state"] == State.READY.value else actor["reason"],
    }


async def _models(connection: Any) -> list[dict[str, Any]]:
    from contracts.operations import OPERATIONS

    answer = await connection.face.answer(OPERATIONS["list_models"], {})
    models: list[dict[str, Any]] = answer["models"]
    return models
