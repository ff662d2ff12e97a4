"""Which of several actors a read goes to."""

from __future__ import annotations

from typing import Any

from contracts.operations import OPERATIONS
from contracts.settings import Settings
from contracts.work import State
from router import choice
from router.choice import MOST_LOST, Choice, writer_of
from router.link import Links
from router.table import ActorRoute, Copy

HERE, THERE = "here", "there"


class Work(Links):
    """Links with as much work as the test says."""

    def __init__(self, **loads: int) -> None:
        super().__init__(Settings())
        self.loads = loads

    def load(self, name: str) -> int:
        return self.loads.get(name, 0)


def copy(name: str, node_id: str = HERE, state: State = State.READY, handle: Any = "handle") -> Copy:
    return Copy(name, handle, state.value, 1, "", node_id)


def chosen(copies: list[Copy], n: int = 1, lost: tuple[str, ...] = (), **loads: int) -> list[str | None]:
    made = Choice(Work(**loads), HERE)
    found = [made.best(copies, lost) for _ in range(n)]
    return [one.name if one is not None else None for one in found]


def test_a_read_goes_to_the_actor_with_the_least_of_this_processs_work():
    assert chosen([copy("a"), copy("b"), copy("c")], 5, a=3, b=1, c=2) == ["b"] * 5


def test_of_equals_one_of_this_node_is_taken_and_of_those_each_in_its_turn():
    assert chosen([copy("a", THERE), copy("b"), copy("c", THERE)], 4) == ["b"] * 4
    names = chosen([copy("a"), copy("b", THERE), copy("c")], 30)
    assert set(names) == {"a", "c"}
    assert sorted(chosen([copy("a", THERE), copy("b", THERE), copy("c", THERE)], 30)) == [
        *"a" * 10,
        *"b" * 10,
        *"c" * 10,
    ]
    # A nearer one that has more to do is not.
    assert chosen([copy("a", THERE), copy("b")], 3, b=1) == ["a"] * 3


def test_one_that_is_not_ready_or_was_not_made_gets_none():
    away = [copy("a", state=State.STARTING), copy("b", handle=None), copy("c", state=State.DEGRADED)]
    assert chosen([*away, copy("d", THERE)], 4, d=9) == ["d"] * 4
    assert chosen(away) == [None]


def test_one_that_lost_a_read_comes_last_for_a_while(monkeypatch):
    made = Choice(Work(b=5, c=7), HERE)
    copies = [copy("a"), copy("b"), copy("c")]
    made.lost("a")
    assert {made.best(copies).name for _ in range(5)} == {"b"}
    made.lost("b")
    assert made.best(copies).name == "c"
    made.lost("c")
    assert made.best(copies).name == "a", "where all did, the one with the least work"
    now = choice.time.monotonic()
    monkeypatch.setattr(choice.time, "monotonic", lambda: now + choice.AWAY_S + 0.1)
    assert made.best([copy("a"), copy("b")]).name == "a"


def test_a_read_that_was_lost_goes_to_another_and_after_a_second_loss_waits_for_that_one():
    made = Choice(Work(b=3), HERE)
    copies = [copy("a"), copy("b"), copy("c", THERE)]
    assert made.again(copies, ()).name == "a"
    assert made.again(copies, ("a",)).name == "c"
    lost = ("a", "c")
    assert len(lost) == MOST_LOST
    for state in (State.READY, State.STARTING, State.DEGRADED):
        assert made.again([copy("a"), copy("b"), copy("c", state=state)], lost).name == "c"
    assert made.again([copy("a"), copy("b"), copy("c", handle=None)], lost).name == "c"
    # One that cannot start, or whose node is gone, is not waited for.
    assert made.again([copy("a"), copy("b"), copy("c", state=State.FAULTED)], lost).name == "b"
    assert made.again([copy("a"), copy("b")], lost).name == "b"


def test_the_writes_of_a_model_have_one_writer_whichever_is_there_and_models_have_different_ones():
    copies = [copy("a"), copy("b", state=State.FAULTED), copy("c", state=State.STARTING)]
    lines = [OPERATIONS["append_day"].line(f"model-{n}") for n in range(300)]
    writers = [writer_of(copies, line).name for line in lines]
    assert writers == [writer_of([copy(name) for name in "abc"], line).name for line in lines]
    assert all(writers.count(name) > 60 for name in "abc")
    # The same in every process and release, or two would write a model: `hash` would not be.
    assert writer_of(copies, "factor_model_creation:main").name == "a"


def test_the_only_actor_of_a_workload_is_asked_in_any_state_once_it_was_made():
    made = Choice(Work(), HERE)
    for state in State:
        for lost in ((), ("size_factor",), ("size_factor",) * 3):
            route = ActorRoute("size_factor", "handle", state.value, 1, "")
            assert made.again(route.actors, lost).handle == "handle"
    assert made.again(ActorRoute("size_factor", None, State.STARTING.value, 0, "").actors, ()).handle is None
