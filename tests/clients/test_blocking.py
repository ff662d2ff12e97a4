"""The clients without await, also where a loop runs already."""

import asyncio
import threading

import pytest

from clients.blocking import Blocking
from clients.http import HttpEngine
from clients.methods import Surface
from contracts.errors import Unavailable
from contracts.requests import FactorExposures


class Double(Surface):
    """A client that answers by itself, and notes what became of it."""

    closed = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.closed += 1

    async def send(self, operation, body, how):
        await asyncio.sleep(0)
        return {"models": [], "count": 0}

    async def send_for_table(self, operation, body, how):
        raise NotImplementedError

    async def numbers(self, n):
        try:
            for k in range(n):
                await asyncio.sleep(0)
                yield k
        finally:
            self.ended = threading.current_thread().name

    name = "double"


def test_methods_wait_for_their_answers_and_iterators_end():
    client = Double()
    with Blocking(client) as engine:
        assert engine.list_models().count == 0
        assert list(engine.numbers(3)) == [0, 1, 2]
        following = engine.numbers(5)
        assert next(following) == 0
        following.close()
        assert client.ended == "factor-engine client"
        assert engine.name == "double"
        assert "numbers" in dir(engine)
    assert client.closed == 1
    assert not any(thread.name == "factor-engine client" for thread in threading.enumerate())


def test_it_works_inside_of_a_running_loop():
    async def notebook():
        with Blocking(Double()) as engine:
            return list(engine.numbers(2))

    assert asyncio.run(notebook()) == [0, 1]


def test_what_the_engine_says_is_raised_and_nothing_is_left():
    with (
        Blocking(HttpEngine("http://127.0.0.1:9")) as engine,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        engine.factor_exposures(FactorExposures(portfolio_weights={"A": 1.0}))
    assert not any(thread.name == "factor-engine client" for thread in threading.enumerate())


def test_a_client_that_cannot_connect_leaves_no_thread():
    class Away(Double):
        async def __aenter__(self):
            raise Unavailable("away")

    with pytest.raises(Unavailable, match="away"):
        Blocking(Away()).open()
    assert not any(thread.name == "factor-engine client" for thread in threading.enumerate())
