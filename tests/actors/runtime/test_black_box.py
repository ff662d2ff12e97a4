"""What a process computed when it ended is known to the next one, and no request ends a third."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from actors.runtime.base import WorkloadActor
from actors.runtime.black_box import KEPT, BlackBox
from contracts.answers import Calculation
from contracts.errors import EndsActors
from contracts.requests import Request
from contracts.settings import settings
from contracts.work import work_item

ROOT = Path(__file__).parents[3]
DYING = """
import os, signal, sys
from pathlib import Path
from actors.runtime.black_box import BlackBox
from contracts.requests import Empty
from contracts.work import work_item

box = BlackBox(Path(sys.argv[1]) / "actors", "size_factor.heavy", Path(sys.argv[1]) / "refused")
with box.at_work([work_item("size", Empty(), request_id=name) for name in sys.argv[2:]]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Fatal(Request):
    """A request that ends the process."""

    fatal: bool = False
    table: bytes = b""
    names: list[str] = Field(default_factory=list)


def dies_at(folder, *request_ids):
    """A process that ends as `kill -9` ends it, while it computes these requests."""
    done = subprocess.run([sys.executable, "-c", DYING, folder, *request_ids], cwd=ROOT, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL


def next_process(folder):
    return BlackBox(folder / "actors", "size_factor.heavy", folder / "refused")


def item(request_id, **fields):
    return work_item("size", Fatal(**fields), request_id=request_id)


def test_what_was_computed_at_the_end_is_suspect_and_refused_at_the_second_time(tmp_path):
    dies_at(tmp_path, "guilty", "bystander")
    second = next_process(tmp_path)
    assert second.is_suspect(item("guilty"))
    assert second.is_suspect(item("bystander"))
    assert not second.is_suspect(item("new"))
    assert second.refusal(item("guilty")) is None
    dies_at(tmp_path, "guilty")
    third = next_process(tmp_path)
    refusal = third.refusal(item("guilty", table=b"arrow", names=["A"]))
    assert isinstance(refusal, EndsActors)
    assert refusal.status == 422
    assert third.refusal(item("bystander")) is None
    assert third.refusal(item("new")) is None


def test_a_refused_request_is_kept_with_its_tables(tmp_path):
    dies_at(tmp_path, "guilty")
    dies_at(tmp_path, "guilty")
    refusal = next_process(tmp_path).refusal(item("guilty", table=b"arrow", names=["A"]))
    (kept,) = (tmp_path / "refused").iterdir()
    assert kept.name in refusal.detail
    about = json.loads((kept / "request.json").read_text())
    assert (about["operation"], about["request_id"]) == ("size", "guilty")
    assert about["request"]["names"] == ["A"]
    assert (kept / about["request"]["table"]).read_bytes() == b"arrow"


def test_the_newest_refused_requests_are_kept(tmp_path):
    names = [f"guilty-{i}" for i in range(KEPT + 3)]
    dies_at(tmp_path, *names)
    dies_at(tmp_path, *names)
    box = next_process(tmp_path)
    for name in names:
        assert box.refusal(item(name)) is not None
    assert len(list((tmp_path / "refused").iterdir())) == KEPT


def test_what_ended_well_leaves_no_suspect(tmp_path):
    box = next_process(tmp_path)
    with box.at_work([item("fine")]):
        pass
    with pytest.raises(ZeroDivisionError), box.at_work([item("fails")]):
        raise ZeroDivisionError
    after = next_process(tmp_path)
    assert not after.is_suspect(item("fine"))
    assert not after.is_suspect(item("fails"))


def test_a_process_that_lives_is_not_read(tmp_path):
    box = next_process(tmp_path)
    with box.at_work([item("long")]):
        assert not next_process(tmp_path).is_suspect(item("long"))


def test_notes_that_cannot_be_read_are_no_notes(tmp_path):
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "size_factor.heavy.json").write_text("[broken")
    dies_at(tmp_path, "guilty")
    assert next_process(tmp_path).is_suspect(item("guilty"))


class Sums(WorkloadActor):
    """Says with how many others a request was computed."""

    def size(self, request):
        return Calculation(len(request.names), "", 1.0)


def test_an_actor_computes_a_suspect_alone_and_refuses_one_that_ended_two(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    dies_at(tmp_path, "guilty", "bystander")
    dies_at(tmp_path, "guilty")
    actor = Sums()
    settings.cache_clear()
    actor.remember("size_factor")
    batches = []
    compute = actor._lanes["heavy"]._compute
    actor._lanes["heavy"]._batch_limit = 64
    actor._lanes["heavy"]._waiting._batch_predicted_s = 60.0  # a slow machine must not part what goes together
    monkeypatch.setattr(
        actor._lanes["heavy"], "_compute", lambda name, items: batches.append(len(items)) or compute(name, items)
    )
    results = actor.call_heavy([item("a"), item("bystander"), item("guilty"), item("b"), item("c")])
    assert [result.problem and result.problem["code"] for result in results] == [None, None, "ends_actors", None, None]
    assert batches == [1, 1, 2]
