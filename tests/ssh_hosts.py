"""Hosts to log in to over ssh, as `ray up` wants them: on each the same user, with a home and the project in it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import hosts
from hosts import Host, Network
from left_behind import words_of
from running_cluster import Started
from running_engine import ROOT, until

COMMAND_S = 900.0
"""How long a command on a host may take; on two busy cores Ray takes its time to start."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The host's own: the home that others see elsewhere, who can log in, and what sshd keeps and notes.
OWN = """
set -e
mount --bind "$1" "$2"
mount --bind "$3" /etc/passwd
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir /run/sshd
touch /var/log/lastlog
"""
SSHD = """
ListenAddress {address}:22
HostKey {key}
PidFile none
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
PrintLastLog no
"""
PROFILE = """
export PATH="$HOME/factor-engine/.venv/bin:$PATH"
export FACTOR_ENGINE_RUN_DIR={run_dir}
export PYTHONPATH={root}  # the tree that is tested, where the environment is another one's
"""


def why_not() -> str | None:
    """Say why such hosts cannot be made here; None when they can."""
    for name in ("ssh", "ssh-keygen", "sshd", "rsync"):
        if shutil.which(name, path=PATH) is None:
            return f"there is no {name}"
    if not (ROOT / ".venv/bin/ray").exists():
        return "the project has no .venv, whose commands cluster.yaml names: make setup"
    return hosts.why_not()


class SshHosts:
    """A head and nodes; the run directory is on a folder that all see, the rest of a home is each host's own.

    Parameters
    ----------
    user
        Who logs in. He is root by another name, as the project may lie where only root can read it.
    nodes
        Names of the hosts besides the head.
    """

    def __init__(self, user: str, nodes: list[str]) -> None:
        self.shared = Path(tempfile.mkdtemp(prefix="fe-ssh-", dir="/var/tmp"))  # each host's /tmp is its own
        self.user, self.home, self.run_dir = user, self.shared / "home", self.shared / "run"
        self.home.mkdir()
        self._passwd = self.shared / "passwd"
        who = f"{user}:x:0:0::{self.home}:/bin/bash\n"  # first, so that root is called so
        self._passwd.write_text(who + Path("/etc/passwd").read_text())
        for key in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.shared / key], check=True)
        self.network = Network()
        try:
            self.head, *self.nodes = [self._host(name) for name in ("head", *nodes)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.network.close()
        shutil.rmtree(self.shared, ignore_errors=True)

    @property
    def all(self) -> list[Host]:
        return [self.head, *self.nodes]

    def own(self, host: Host) -> Path:
        """Give the folder that is the user's home on a host."""
        return self.shared / f"home-of-{host.name}"

    def _host(self, name: str) -> Host:
        host = self.network.host(name)
        self._furnish(self.own(host))
        host.run(["sh", "-c", OWN, "sh", str(self.own(host)), str(self.home), str(self._passwd)])
        config = self.shared / f"sshd-of-{name}"
        config.write_text(SSHD.format(address=host.address, key=self.shared / "host_key"))
        server = shutil.which("sshd", path=PATH)
        assert server is not None
        log = self.shared / f"sshd-of-{name}.log"
        host.start([server, "-D", "-e", "-f", str(config)], log, {"PATH": PATH}, Path("/"))
        until(lambda: host.within(_listens, host.address), f"sshd of {name}: {log.read_text()}", COMMAND_S)
        return host

    def _furnish(self, home: Path) -> None:
        """Make a home as cluster.yaml wants it on every machine."""
        ssh = home / ".ssh"
        for folder in (home, ssh):
            folder.mkdir(mode=0o700)
        shutil.copy(self.shared / "user_key", ssh / "id_ed25519")
        shutil.copy(self.shared / "user_key.pub", ssh / "authorized_keys")
        (home / ".bashrc").write_text(PROFILE.format(run_dir=self.run_dir, root=ROOT))
        (home / ".bash_profile").write_text(". ~/.bashrc\n")
        (home / "factor-engine").symlink_to(ROOT)

    def started(self, name: str, line: str) -> Started:
        """Start a line of the shell on the head, as the user has it who is logged in there."""
        who = {"HOME": str(self.home), "USER": self.user, "LOGNAME": self.user, "PATH": PATH, "TERM": "dumb"}
        return Started(self.head, ["bash", "--login", "-c", f"cd && {line}"], self.shared / f"{name}.log", who)

    def told(self, name: str, line: str) -> tuple[int, str]:
        """Run a line of the shell on the head; gives its exit code and what it printed."""
        done = self.started(name, line)
        code = done.process.wait(COMMAND_S)
        return code, done.text

    def beside_ssh(self, host: Host) -> list[str]:
        """List the commands that run on a host beside its sshd."""
        commands = [" ".join(words_of(process)) for process in host.processes()]
        return [command for command in commands if command and Path(command.split()[0]).name not in ("sshd", "sshd:")]


def _listens(address: str) -> bool:
    try:
        socket.create_connection((address, 22), 1.0).close()
    except OSError:
        return False
    return True
