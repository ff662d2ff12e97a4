"""Chains in processes of the job's own: each is done once, a process that dies is replaced, none stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from left_behind import words_of

from contracts.errors import InvalidInput, Unavailable
from jobs import processes
from jobs.processes import Processes

DEADLINE_S = 60.0


def note(folder: str, name: str, tick=lambda: None) -> float:
    """Write down which process did it, and wait until another one did something too."""
    (Path(folder) / name).write_text(str(os.getpid()))
    limit = time.monotonic() + DEADLINE_S
    while len({path.read_text() for path in Path(folder).iterdir()} - {""}) < 2 and time.monotonic() < limit:
        tick()
    return float(len(name))


def refuse(field: str, _tick=None) -> float:
    """Fail as a chain does."""
    raise InvalidInput("no such thing", field=field)


def die_once(folder: str, parent: int, _tick=None) -> float:
    """End as by the kernel, but for the first time only, and never in the process that asked."""
    mark = Path(folder) / "died"
    if os.getpid() != parent and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def die_always(parent: int, tick=None) -> float:
    """End as by the kernel; the process that asked waits for it."""
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    limit = time.monotonic() + DEADLINE_S
    while time.monotonic() < limit:
        tick()
    return 1.0


def spawned() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(words_of(child))]


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setattr(processes, "_prepare", os.getpid)  # no catalogue is needed here
    monkeypatch.setattr(processes, "RETRIES", 1)
    made = Processes(2)
    yield made
    made.close()
    assert spawned() == []


def test_this_process_and_another_share_the_chains(workers, tmp_path):
    looks = []
    work = [(str(tmp_path), name) for name in ("a", "bb", "ccc")]
    assert workers.run(note, work, lambda: looks.append(1)) == [1, 2, 3]
    assert looks
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 2


def test_a_process_that_dies_is_replaced_and_its_chain_begun_again(workers, tmp_path):
    work = [(str(tmp_path), os.getpid())] * 3
    while not (tmp_path / "died").exists():
        assert workers.run(die_once, work, lambda: None) == [1.0] * 3
    assert workers.run(die_once, work, lambda: None) == [1.0] * 3


def test_processes_that_die_again_and_again_end_the_job_with_the_reason(workers):
    with pytest.raises(Unavailable, match="did not come to its end"):
        workers.run(die_always, [(os.getpid(),)] * 2, lambda: None)


def test_what_is_wrong_arrives_as_it_was_said(workers):
    with pytest.raises(InvalidInput, match="no such thing") as told:
        workers.run(refuse, [("data",)] * 3, lambda: None)
    assert told.value.field == "data"


def test_one_chain_at_once_needs_no_other_process(tmp_path):
    workers = Processes(1)
    (tmp_path / "seen").write_text("1")
    assert workers.run(note, [(str(tmp_path), "a")], lambda: None) == [1.0]
    assert spawned() == []


def test_processes_end_with_a_job_that_is_killed():
    held = (
        "from jobs.processes import Processes; w = Processes(2); print(*(p.pid for p in w._begun), flush=True); input()"
    )
    job = subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(job.stdout.readline()))
    job.kill()
    job.communicate()
    child.wait(DEADLINE_S)
    assert not child.is_running()


def write(folder: str, name: str, parent: int, _tick=None) -> float:
    """Do one thing; the process that asked waits in the midst of it, and looks at nothing, until two more are done."""
    limit = time.monotonic() + DEADLINE_S
    while os.getpid() == parent and len(list(Path(folder).iterdir())) < 2 and time.monotonic() < limit:
        pass
    (Path(folder) / name).write_text(str(os.getpid()))
    return 1.0


def test_a_process_that_is_done_begins_its_next_chain_while_this_one_is_at_a_block(workers, tmp_path):
    assert workers.run(write, [(str(tmp_path), name, os.getpid()) for name in "abc"], lambda: None) == [1.0] * 3
    by = [path.read_text() for path in tmp_path.iterdir()]
    assert by.count(str(os.getpid())) == 1


def test_all_processes_begin_at_once_with_one_thread_each(monkeypatch):
    monkeypatch.setattr(processes, "_prepare", os.getpid)
    workers = Processes(4)
    try:
        assert len(workers._begun) == 3
        assert {child.environ()[name] for child in spawned() for name in processes.ONE_THREAD} == {"1"}
    finally:
        workers.close()
