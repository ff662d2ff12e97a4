"""Several hosts on one machine, each with its own network, processes, temporary folder, shared memory and uptime.

A host is a set of unnamed namespaces that its first process holds. When that process ends the kernel kills all others
of the host and removes its network, so nothing of it can stay. Nothing is added to the machine's own network.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import psutil
from running_engine import until

NETWORK = "10.231.7"
GATEWAY = f"{NETWORK}.254"
UP_S = 20.0
CLONE_NEWNET = 0x40000000
NAMESPACES = ("--net", "--uts", "--ipc", "--pid", "--mount", "--time")
DAY_S = 86_400
# A host's own /tmp and shared memory: Ray's sockets, sessions and objects of two hosts never meet. By the kernel's boot
# id the engine knows whether two processes read one clock.
UNSHARE = ("unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc")
HOLD = "sleep infinity"
OWN = f"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=1777,size=2g tmpfs /dev/shm
cat /proc/sys/kernel/random/uuid > /tmp/boot_id
mount --bind /tmp/boot_id /proc/sys/kernel/random/boot_id
hostname "$1"
ip link set lo up
echo up
while :; do {HOLD} & wait; done
"""
T = TypeVar("T")


def why_not() -> str | None:
    """Say why hosts cannot be made here; None when they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts of namespaces need Linux and root"
    for name in ("ip", "unshare", "nsenter", "setpriv"):
        if shutil.which(name) is None:
            return f"there is no {name}"
    done = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "try", "type", "bridge"], capture_output=True, check=False
    )
    return None if done.returncode == 0 else f"no bridge can be made: {done.stderr.decode().strip()}"


class Host:
    """A host: a first process, and what is started on it.

    Parameters
    ----------
    name
        Its host name.
    number
        The last part of its address; None for one without a network of its own yet.
    """

    def __init__(self, name: str, number: int | None = None) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        up = [f"--monotonic={(number or 0) * DAY_S}", f"--boottime={(number or 0) * DAY_S}"]
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *UNSHARE, *up, "sh", "-c", OWN, "sh", name],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        self._holder.stdout.close()
        self._started: list[subprocess.Popen[bytes]] = []
        (first,) = psutil.Process(self._holder.pid).children()
        self.pid = first.pid
        self._inside = ThreadPoolExecutor(1, initializer=self.enter)

    def enter(self) -> None:
        """Move the calling thread into the host's network; sockets that it makes are the host's."""
        descriptor = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    def within(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a function on a thread that is on the host's network."""
        return self._inside.submit(call, *arguments, **named).result()

    def command(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self.pid}", *NAMESPACES, "--", *command]

    def start(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Start a command on the host, in a session of its own."""
        with log.open("ab") as out:
            started = subprocess.Popen(
                ["nsenter", f"--target={self.pid}", *NAMESPACES, f"--wd={folder}", "--", *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(started)
        return started

    def run(self, command: Sequence[str]) -> str:
        """Run a short command on the host; gives what it printed."""
        done = subprocess.run(self.command(command), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self, name: str = "") -> list[psutil.Process]:
        """List the host's living processes whose command line has `name` in it, but for what holds the host."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for process in psutil.process_iter():
            try:
                there = Path(f"/proc/{process.pid}/ns/pid").readlink() == own and process.pid != self.pid
                command = " ".join(process.cmdline()) if there else ""  # a zombie has none
                if command and command != HOLD and name in command:
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found

    def kill_all(self, name: str = "") -> None:
        """Kill every process on the host that has `name` in its command line, until there is none."""
        while processes := self.processes(name):
            for process in processes:
                with_signal(process, signal.SIGKILL)

    def link(self, state: str) -> None:
        """Take the host's cable out (``down``), or put it in (``up``)."""
        self.run(["ip", "link", "set", "eth0", state])
        if state == "up":  # routes go with the link
            self.run(["ip", "route", "replace", "default", "via", GATEWAY])

    def close(self) -> None:
        """End the host, with everything on it."""
        self._inside.shutdown()
        self._holder.kill()  # --kill-child: its child ends with it, and with that the host
        for process in (self._holder, *self._started):
            process.wait()
        until(lambda: not psutil.pid_exists(self.pid), f"{self.name} is gone", UP_S)


def with_signal(process: psutil.Process, number: int) -> None:
    """Send a signal to a process, if it is still there."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


class Network:
    """A switch in a namespace of its own, and hosts on it."""

    def __init__(self) -> None:
        self.switch = Host("switch")
        self.hosts: list[Host] = []
        self.switch.run(["ip", "link", "add", "lan", "type", "bridge"])
        self.switch.run(["ip", "address", "add", f"{GATEWAY}/24", "dev", "lan"])
        self.switch.run(["ip", "link", "set", "lan", "up"])

    def host(self, name: str) -> Host:
        """Give a new host with an address on the network."""
        number = len(self.hosts) + 1
        made = Host(name, number)
        self.hosts.append(made)
        port = f"port{number}"
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(made.pid)]  # as this machine numbers processes
        subprocess.run(
            ["nsenter", f"--target={self.switch.pid}", "--net", "ip", "link", "add", port, *peer], check=True
        )
        self.switch.run(["ip", "link", "set", port, "master", "lan", "up"])
        made.run(["ip", "address", "add", f"{made.address}/24", "dev", "eth0"])
        made.link("up")
        return made

    def close(self) -> None:
        for host in [*self.hosts, self.switch]:
            host.close()
