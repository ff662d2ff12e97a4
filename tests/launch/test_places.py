"""Where people run it: each oddity is made in a mount namespace of the run's own, or by limits on its processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from left_behind import named
from running_engine import ROOT, START_S, STOP_S, Run, lifecycle, put_away, running, small_market, until

from contracts.identity import ENGINE_HEADER, engine_id
from engine.ports import free_port

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),
    lifecycle,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="namespaces and other users need root"),
]
NOBODY = 65534
ODD = {
    "HOME": "/nonexistent",
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "tr_TR.UTF-8",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "PYTHONPATH": str(ROOT),
}
READ_ONLY_CHECKOUT = f"mount --bind {ROOT} {ROOT} && mount -o remount,ro,bind {ROOT}"
TINY_SHM = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
NO_SHM = """
new=$(mktemp -d) && mount -t tmpfs tmpfs $new
for name in null zero full random urandom tty; do touch $new/$name && mount --bind /dev/$name $new/$name; done
ln -s /proc/self/fd $new/fd && mount --move $new /dev && test ! -e /dev/shm
"""


def open_to_others() -> str:
    """Give what makes this Python readable to another user, where it lies in somebody's private folder."""
    base = Path(sys.base_prefix)
    closed = [folder for folder in base.parents if not folder.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return "true"
    top = closed[-1]
    return (
        f"kept=$(mktemp -d) && mount --bind {base} $kept && mount -t tmpfs -o mode=755 tmpfs {top} && "
        f"mkdir -p {base} && mount --move $kept {base}"
    )


def within(*steps: str, then: str = "") -> list[str]:
    """Give a command that does these steps in a mount namespace of its own and becomes what follows."""
    script = "\n".join(["set -e", "mount --make-rprivate /", *steps, f'cd {ROOT}\nexec {then} "$@"'])
    return ["unshare", "-m", "sh", "-c", script, "sh"]


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A small file system of its own that belongs to another user, below folders that he may pass."""
    folder = Path(tempfile.mkdtemp(prefix="factor-engine-elsewhere-"))
    folder.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "tmpfs", folder], check=True)
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def works(run: Run) -> None:
    """See the engine healthy, and ask it for what the table offers."""
    run.until_ready()
    until(lambda: run.health()["status"] == "healthy", f"healthy: {run.reasons()}", 120.0)
    line = next(line for line in run.log.splitlines() if "/factor-exposures/calculate" in line)
    weights = json.loads(line.partition("-d '")[2].rpartition("'")[0])
    answer = run.ask("POST", "/factor-exposures/calculate", json=weights)
    assert answer.status_code == 200, answer.text
    assert answer.json()["calculation_result"]["messagebus_published"] is True


def test_another_user_without_a_home_a_checkout_that_cannot_be_written_and_hardly_any_shared_memory(
    elsewhere, tmp_path
):
    market = small_market(elsewhere)
    market.chmod(0o644)
    before = within(
        READ_ONLY_CHECKOUT, TINY_SHM, open_to_others(), then=f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
    )
    run = Run(elsewhere / "run", free_port(), market, before, **ODD)
    temp: set[Path] = set()
    try:
        works(run)
        users = set()
        for process in run.tree():
            with contextlib.suppress(psutil.NoSuchProcess):  # some live for a moment only
                users.add(process.uids().real)
        assert users == {NOBODY}
        temp = {path for path in Path("/tmp").glob("fe-*") if path.stat().st_uid == NOBODY}
        assert temp
        assert {stat.S_IMODE(path.stat().st_mode) for path in temp} == {0o700}
        # And an engine of ours beside it: each is its own.
        with running(tmp_path / "ours", market) as ours:
            works(ours)
            ids = {engine_id(run.run_dir), engine_id(ours.run_dir)}
            assert len(ids) == 2
            for one in (run, ours):
                (foreign,) = ids - {one.ask("GET", "/health").headers[ENGINE_HEADER]}
                assert one.ask("GET", "/factor-models/list", headers={ENGINE_HEADER: foreign}).status_code == 421
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(timeout=3 * STOP_S) == 0
        assert run.left() == []
    finally:
        for process in run.tree() if run.process.poll() is None else run.left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        run.process.wait()
        for path in temp:
            shutil.rmtree(path, ignore_errors=True)


def test_few_open_files_and_no_shared_memory_at_all(tmp_path):
    with running(tmp_path / "run", small_market(tmp_path), ["prlimit", "--nofile=1024:1024", *within(NO_SHM)]) as run:
        works(run)
        assert "the HTTP face takes 358 connections at once" in run.log
        haproxy = named(run.tree(), "haproxy")
        assert haproxy
        assert {process.rlimit(psutil.RLIMIT_NOFILE)[1] for process in haproxy} == {1024}


def test_too_few_open_files_end_the_start_with_the_reason(tmp_path):
    run = Run(tmp_path / "run", free_port(), None, ["prlimit", "--nofile=256:256"])
    try:
        until(lambda: run.process.poll() is not None, "the start ended", START_S)
        assert run.process.returncode == 1
        assert "this process may open 256 files" in run.log
        assert "ulimit -Hn" in run.log
        assert run.left() == []
    finally:
        put_away(run)
