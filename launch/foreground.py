"""Starts the engine in a run, shows it, and ends: `launch.supervisor` has Ray and nats-server up, or on their way.

What is started outlives this process: Ray's named actors belong to nobody. So nothing of Ray is left in the foreground.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from contracts.errors import EngineError, first_line
from contracts.identity import engine_id
from contracts.settings import Settings, settings
from contracts.tokens import known_tokens, token_file
from contracts.work import State
from engine import market as markets
from engine.errors import StartError
from launch import console as show
from launch.options import Place, parse

READY_S = 180.0
"""How long the actors may take before the table is shown with what there is."""
HTTP_S = 180.0
WATCH = "replay"
"""The watch on a market that is played."""

T = TypeVar("T")


def main(arguments: Sequence[str]) -> int:
    """Start the engine; the exit code is 1 when it could not, and the reason was shown."""
    if list(arguments) == ["--leave"]:
        leave(settings())
        return 0
    place, *rest = arguments
    console = show.make_console()
    start = Start(settings(), Place.unpacked(place), parse(rest), console)
    try:
        start.run()
        start.show()
    except (StartError, EngineError) as error:
        console.print(f"cannot start: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except Exception as error:  # noqa: BLE001  # a person at a terminal gets the stage and the reason, not our stack
        console.print(f"cannot start: {start.explain(error)}", style="red", markup=False, soft_wrap=True)
        return 1
    return 0


def leave(current: Settings) -> None:
    """Take the engine off the cluster that ``RAY_ADDRESS`` names."""
    from ray import serve

    import serve_app
    from engine import cluster
    from engine import start as engine

    cluster.join(os.environ["RAY_ADDRESS"])
    serve.delete(serve_app.NAME, _blocking=False)
    engine.stop_engine(current)


class Start:
    """One start: what does not depend on each other at the same time."""

    def __init__(self, current: Settings, place: Place, options: argparse.Namespace, console: Console) -> None:
        self.current = current
        self.place = place
        self.options = options
        self.console = console
        self.run_dir = current.run_dir.resolve()
        self.http = current.http_url
        self.cluster: Any = None
        self.connection: Any = None
        self.loop: Any = None
        self.market: markets.Market | None = None
        self.model: dict[str, Any] | None = None
        self.stages: show.Progress | None = None

    def run(self) -> None:
        """Start everything; returns when all actors are READY, or `READY_S` passed."""
        with show.Progress(self.console) as self.stages:
            self._run()

    def _run(self) -> None:
        from engine import start as engine

        market = _beside(self._read_market)
        self._show_nats()
        with self._stage("Ray") as stage:
            self._connect(market)
            stage.detail = f"{'started' if self.cluster.local else 'joined'} {self.cluster.address}"
        http = _beside(self._start_http)
        first = _beside(self._start_actors)
        self.market = market.result()
        first.result()
        self._load()
        http.result()
        self.loop.run(engine.start_rest(self.current, self.connection))
        self._all_ready()
        self.loop.run(engine.warm_library(self.connection, self.market.model_id))

    def _connect(self, market: Future[markets.Market]) -> None:
        """Connect to Ray; a market that cannot be had is told at once."""
        from engine import cluster, joined

        def look() -> None:
            if market.done():
                market.result()

        if self.place.temp is None:
            self.cluster = cluster.join(os.environ["RAY_ADDRESS"])
            joined.note(self.run_dir, cluster.ray_socket())
        else:
            self.cluster = cluster.connect(Path(self.place.temp), self.place.dashboard, look)

    def _stage(self, name: str) -> contextlib.AbstractContextManager[show.Stage]:
        assert self.stages is not None
        return self.stages.stage(name)

    def _read_market(self) -> markets.Market:
        with self._stage("market") as stage:
            if self.options.data is not None:
                markets.require_columns(self.options.data, self.run_dir, self.options.settings)
            market = markets.take(self.options.data, self.run_dir, self.options.model, self.options.settings)
            stage.detail = market.source
            return market

    def _show_nats(self) -> None:
        with self._stage("nats-server") as stage:
            if not self.current.messagebus_enabled:
                stage.detail = "switched off"
            elif self.current.nats_url is not None:
                stage.detail = "the operator's"
            else:
                stage.detail = self._nats_url() or ""

    def _start_http(self) -> None:
        from engine import cluster

        with self._stage("HTTP") as stage:
            import serve_app
            from launch.http import application

            made = application(self.current, local=self.cluster.local)
            cluster.serve_http(made, self.current, serve_app.NAME)
            cluster.until_http_answers(self.http, engine_id(self.run_dir), HTTP_S)
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
                self.loop.run(self.connection.client.wait_ready(engine.ALL, READY_S, every=True))
                routes = self.connection.client.table.routes.values()
                stage.detail = f"{sum(len(route.actors) for route in routes)} READY"
            except EngineError as error:
                stage.detail = str(error)

    def explain(self, error: Exception) -> str:
        """Say which stage failed, why, and where more is to be read; the whole stack goes into a file."""
        failed = self.stages.failed() if self.stages is not None else []
        path = self.run_dir / "start-error.txt"
        told = f"{', '.join(failed) or 'start'}: {first_line(error)}"
        try:
            path.write_text("".join(traceback.format_exception(error)))
        except OSError as unwritten:
            return f"{told} (the stack cannot be kept: {unwritten.strerror})"
        return f"{told} (more in {path})"

    # -- show

    def show(self) -> None:
        """Print the table: where things listen, the actors, the models, and what to try."""
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
        wrong = self.loop.run(_quality(self.connection, self.market.model_id)) if self.market is not None else []
        if wrong:
            show.commands(self.console, "What looked wrong in the data", wrong)
        if self.options.live is not None and self.market is not None:
            show.commands(self.console, "Watch the replay: no market's ticks, but a player's", self._watch())
        for title, lines in (("Try", self._examples()), ("Recompute history as a Ray job", self._job())):
            show.commands(self.console, title, lines)
        took = time.time() - self.place.began
        self.console.print(f"Ready after {took:.0f} s. Ctrl-C ends everything.", style="bold", markup=False)

    def _places(self) -> list[tuple[str, str]]:
        rows = [("HTTP", self.http), ("documentation", f"{self.http}/docs"), ("health", f"{self.http}/health")]
        if known_tokens(self.current) is not None:
            rows.append(("HTTP tokens", f"{token_file(self.current)} (python -m launch token add NAME makes one)"))
        nats = self._nats_url()
        rows.append(("NATS", nats or "switched off"))
        if nats is not None and self.current.nats_url is None:
            rows.append(("NATS log-ins", f"{self.run_dir}/nats/peers/<role>.json (only you can read them)"))
        if self.cluster.dashboard is not None:
            rows.append(("Ray dashboard, jobs", f"{self.cluster.dashboard} (token in {self._token()})"))
        rows.append(("Ray", self.cluster.address))
        rows.extend((name, f"127.0.0.1:{port}, read-only") for name, port in self.place.ports.items())
        rows.append(("run directory", str(self.run_dir)))
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
        bearer = '-H "authorization: Bearer $FACTOR_ENGINE_TOKEN" ' if known_tokens(self.current) is not None else ""
        post = f"{bearer}-H 'content-type: application/json' -d"
        return [
            f"curl -s {self.http}/factor-exposures/calculate {post} {body}",
            f"curl -s {self.http}/portfolio-risk/calculate {post} {body}",
            f"curl -s {self.http}/portfolio-attribution/calculate {post} {body}",
        ]

    def _watch(self) -> list[str]:
        """Put a watch on what is played, and give two lines that print its values as they move."""
        from contracts.operations import OPERATIONS

        assert self.market is not None
        url = self._nats_url()
        if url is None:
            return ["the message bus is switched off, and ticks come over it"]
        wanted = {"watch_id": WATCH, "model_id": self.market.model_id, "factor_returns": True, "rate_ms": 1000}
        wanted |= {"symbols": list(self.market.largest), "portfolios": ["market"]}
        self.loop.run(self.connection.face.answer(OPERATIONS["put_watch"], wanted))
        lines = [f"{sys.executable} -m clients.watch {WATCH} --run {shlex.quote(str(self.run_dir))}"]
        if self.current.nats_url is None:
            file = shlex.quote(f"{self.run_dir}/nats/access.json")
            login = f'--user "$(jq -r .user {file})" --password "$(jq -r .password {file})"'
            lines.append(f"nats --server {url} {login} sub factor.live.{WATCH}")
        else:
            lines.append(f"nats --server {url} sub factor.live.{WATCH}")
        return lines

    def _job(self) -> list[str]:
        """Give the exact line that submits the recompute job."""
        assert self.market is not None
        if self.cluster.no_jobs is not None:
            return [self.cluster.no_jobs]
        ray = Path(sys.executable).with_name("ray")
        secret = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={shlex.quote(str(self._token()))} "
        access = secret if os.environ.get("RAY_AUTH_MODE") == "token" else ""
        job = f"{sys.executable} -m jobs.recompute {self.market.model_id}"
        return [f"{access}{ray} job submit --address {self.cluster.dashboard} -- {job}"]

    def _token(self) -> Path:
        return self.run_dir / "ray" / "token"

    def _nats_url(self) -> str | None:
        from contracts.access import nats_access

        access = nats_access(self.current) if self.current.messagebus_enabled else None
        return access.public_url if access is not None else None


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


def _actor_row(actor: dict[str, Any]) -> dict[str, Any]:
    """Give one actor's row: placement until it computed something, then the device that ran."""
    from contracts.pools import name_in

    placed = actor["placement"]["device"]
    return {
        "name": name_in(actor),
        "wanted": ", ".join(actor["wanted_device"]),
        "actual": actor["device"] or ", ".join(placed),
        "state": actor["state"],
        # Why an actor that works is where it is, /health says; here it would only fill the screen.
        "reason": "" if actor["state"] == State.READY.value else actor["reason"],
    }


async def _quality(connection: Any, model_id: str) -> list[str]:
    """Give a line for each kind of thing that looked wrong in a model's data."""
    from contracts.operations import OPERATIONS

    answer = await connection.face.answer(OPERATIONS["model_quality"], {"model_id": model_id})
    return [f"{found['severity']}: {found['line']}" for found in answer["findings"]]


async def _models(connection: Any) -> list[dict[str, Any]]:
    from contracts.operations import OPERATIONS

    answer = await connection.face.answer(OPERATIONS["list_models"], {})
    models: list[dict[str, Any]] = answer["models"]
    return models


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of a start that failed may be anywhere, and nothing in this process is to be kept.
    os._exit(code)
