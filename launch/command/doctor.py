"""``factor-engine doctor``: what a machine lacks to run an engine, and how to mend it; nothing is changed."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from contracts.errors import Unavailable
from contracts.settings import Settings, settings
from engine import descriptors, haproxy, kernel_cache
from engine.disk_view import MIB, room
from engine.errors import StartError
from engine.nats_server import NatsServerError, find_binary
from engine.ports import holder, is_free
from engine.ray_head import SHARED_MEMORY
from engine.run_dir import is_held
from launch.command.call import Where, tell
from launch.console import make_console
from store.bucket import Bucket
from store.probe import probe

State = Literal["well", "worth knowing", "cannot run"]
MEMORY_MB = 6000
"""What a run of the sample market takes with all its processes, and room for one more model."""
DISK_MB = 2000
COMFORT_FILES = int(descriptors.HAPROXY_EACH * descriptors.HAPROXY_CONNECTIONS) + descriptors.HAPROXY_OWN
CLOCK_YEAR = 2024
"""No clock is earlier that was ever set."""


class Finding(NamedTuple):
    """What one look found.

    Parameters
    ----------
    what
        What was looked at.
    state
        How it is.
    detail
        What was found.
    mend
        What to do; empty where it is well.
    """

    what: str
    state: State
    detail: str
    mend: str = ""


def examine(as_json: bool = False, arrow: Path | None = None) -> int:
    """Look at everything and show it; 1 where an engine cannot run."""
    from rich.table import Table
    from rich.text import Text

    found = findings(settings())
    can_run = all(one.state != "cannot run" for one in found)
    if as_json or arrow is not None:
        told = {"can_run": can_run, "findings": [one._asdict() for one in found]}
        tell(told, Where("", as_json=as_json, arrow=arrow))
        return int(not can_run)
    console = make_console()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    colours = {"well": "green", "worth knowing": "yellow", "cannot run": "red"}
    for one in found:
        table.add_row(one.what, Text(one.state, style=colours[one.state]), Text(one.detail), Text(one.mend))
    console.print(table)
    return int(not can_run)


def findings(current: Settings) -> list[Finding]:
    """Look at everything, each thing by itself: one that cannot be looked at says so and stops no other."""
    looks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _programs,
        _files,
        _folders,
        _store,
        _memory,
        _ports,
        _environment,
        _caches,
    )
    found: list[Finding] = []
    for look in looks:
        try:
            found += look(current)
        except OSError as error:
            found.append(Finding(look.__name__.strip("_"), "worth knowing", f"cannot be looked at: {error}"))
    return found


def _python(_: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("Python", "well" if good else "cannot run", version, "" if good else "install Python 3.11 to 3.13")


def _programs(current: Settings) -> Iterator[Finding]:
    if current.nats_url is None and current.messagebus_enabled:
        try:
            yield Finding("nats-server", "well", str(find_binary()))
        except NatsServerError as error:
            yield Finding("nats-server", "cannot run", str(error), "or switch the bus off: MESSAGEBUS_ENABLED=0")
    if current.http != "uvicorn" and sys.platform == "linux":
        try:
            yield Finding("HAProxy", "well", haproxy.binary())
        except StartError as error:
            yield Finding("HAProxy", "cannot run", str(error), "set FACTOR_ENGINE_HTTP=uvicorn")


def _files(_current: Settings) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = descriptors.WANTED if hard == resource.RLIM_INFINITY else hard
    mend = "raise the hard limit: ulimit -Hn, or LimitNOFILE of the service"
    if most < descriptors.NEEDED:
        yield Finding("open files", "cannot run", f"at most {most}; {descriptors.NEEDED} are needed", mend)
    elif most < COMFORT_FILES:
        yield Finding("open files", "worth knowing", f"at most {most}: fewer connections at once", mend)
    else:
        yield Finding("open files", "well", f"at most {most}")


def _folders(current: Settings) -> Iterator[Finding]:
    places = {
        "run directory": (current.run_dir, "FACTOR_ENGINE_RUN_DIR"),
        "store": (current.store_path, "FACTOR_ENGINE_STORE_CACHE" if current.store_uri else "FACTOR_ENGINE_STORE"),
    }
    for name, (path, setting) in places.items():
        stands = next(folder for folder in (path.resolve(), *path.resolve().parents) if folder.exists())
        if not os.access(stands, os.W_OK | os.X_OK):
            yield Finding(name, "cannot run", f"{stands} cannot be written", f"set {setting} to a folder that can")
            continue
        has = room(path)
        free = 0 if has is None else has.free // MIB
        low = free < DISK_MB
        yield Finding(
            name, "worth knowing" if low else "well", f"{stands}, {free} MB free",
            f"make room, or set {setting} to a larger disk" if low else "",
        )  # fmt: skip
    try:
        with tempfile.TemporaryFile():
            yield Finding("temporary folder", "well", tempfile.gettempdir())
    except OSError as error:
        yield Finding("temporary folder", "cannot run", str(error), "set TMPDIR to a folder that can be written")


def _store(current: Settings) -> Iterator[Finding]:
    if current.store_uri is None:
        return
    try:
        probe(Bucket(current.store_uri, retry_s=5.0))
    except Unavailable as error:
        yield Finding("object store", "cannot run", str(error), "see docs/operations.md, The store in an object store")
    else:
        yield Finding("object store", "well", f"{current.store_uri} holds the conditions that commits need")


def _memory(_: Settings) -> Iterator[Finding]:
    free = psutil.virtual_memory().available // MIB
    low = free < MEMORY_MB
    yield Finding(
        "memory", "worth knowing" if low else "well", f"{free} MB free",
        f"the sample market takes about {MEMORY_MB} MB; end something, or load a smaller market" if low else "",
    )  # fmt: skip
    if sys.platform == "linux" and not SHARED_MEMORY.is_dir():
        yield Finding(
            "shared memory", "worth knowing", f"there is no {SHARED_MEMORY}: Ray's objects are files, which is slower",
            "in a container: --shm-size=2g",
        )  # fmt: skip
    elif sys.platform == "linux":
        yield Finding("shared memory", "well", f"{shutil.disk_usage(SHARED_MEMORY).free // MIB} MB free")


def _ports(current: Settings) -> Iterator[Finding]:
    wanted = [("HTTP port", current.http_host, current.http_port, "FACTOR_ENGINE_HTTP_PORT", "cannot run")]
    if current.nats_url is None and current.messagebus_enabled:
        wanted.append(("NATS port", "127.0.0.1", current.nats_port, "FACTOR_ENGINE_NATS_PORT", "worth knowing"))
    runs = is_held(current.run_dir)
    for name, host, port, setting, taken in wanted:
        if is_free(host, port):
            yield Finding(name, "well", f"{port} is free")
        elif runs:
            yield Finding(name, "well", f"{port} is held, and an engine runs in {current.run_dir}")
        else:
            by = holder(port)
            state: State = "cannot run" if taken == "cannot run" else "worth knowing"
            yield Finding(
                name, state, f"{port} is in use{f' by {by}' if by else ''}", f"set {setting}, or end what holds it"
            )


def _environment(_: Settings) -> Iterator[Finding]:
    proxies = sorted(name for name in urllib.request.getproxies() if name != "no")
    if proxies:
        yield Finding("proxy", "well", f"set for {', '.join(proxies)}; the engine's own calls do not take it")
    if time.gmtime().tm_year < CLOCK_YEAR:
        yield Finding("clock", "cannot run", time.strftime("%F %T"), "set the clock: tokens and certificates need it")
    address = os.environ.get("RAY_ADDRESS")
    if address:
        yield Finding("cluster", "worth knowing", f"RAY_ADDRESS={address}: the run joins it", "unset it to run alone")


def _caches(current: Settings) -> Iterator[Finding]:
    place = kernel_cache.choose(current.run_dir)
    said = {
        "environment": f"compiled into {place.folder}",
        "default": "compiled beside the sources",
        "engine": f"compiled into {place.folder}, as the sources cannot be written",
    }
    yield Finding("kernels", "well", said[place.by])
