"""The line between the bridge and the actor of the running days: real sockets, both ends."""

import asyncio
import functools
import threading

import pytest
import uvloop
from fixtures_nats import until

from actors.live.line import LiveLine
from bus.line import Line
from contracts.errors import Unavailable
from contracts.live_call import Answered, MarketData, WatchValue
from contracts.live_line import PATH_MOST


def on_a_loop(test):
    """Run it on an event loop as the bridge has it."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def answered(values=(), taken=0):
    return Answered(taken, None, list(values), 0.25, {"desk": 60.0}, 0.001, ("main",))


class Taker:
    """Answers what it is told to, and keeps what came."""

    def __init__(self):
        self.came = []
        self.values = []
        self.go = threading.Event()
        self.go.set()
        self.error = None

    def __call__(self, data):
        self.came.append(data)
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        return answered(self.values, data.last)


@pytest.fixture
def taker():
    return Taker()


@pytest.fixture
def line(tmp_path, taker):
    made = LiveLine(tmp_path / "live", taker)
    yield made
    taker.go.set()
    made.close()


def data(last=7, body=b"{}"):
    return MarketData("MARKET_DATA now", 5, last, [("market_data.tick.A", body, None), ("x", b"", "text/plain")], True)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
@on_a_loop
async def test_what_is_sent_and_answered_comes_as_it_was(line, taker, size):
    bodies = [bytes([i]) * size for i in range(3)]
    taker.values = [WatchValue(f"w{i}", i, {"factor-sequence": str(i)}, body) for i, body in enumerate(bodies)]
    end = await Line.to(line.path, lambda: None)
    for last in (7, 8):
        answer = await end.call(data(last, b"y" * size))
        assert taker.came[-1] == data(last, b"y" * size)
        assert answer == answered(taker.values, last)
        assert [bytes(value.body) for value in answer.values] == bodies
    end.close()


@on_a_loop
async def test_more_values_than_one_system_call_sends_come_whole(line, taker):
    taker.values = [WatchValue(f"w{i}", i, {}, str(i).encode() * 1000) for i in range(1500)]
    end = await Line.to(line.path, lambda: None)
    assert (await end.call(data())).values == taker.values
    end.close()


@on_a_loop
async def test_the_actor_asks_for_a_call_also_while_it_answers_one(line, taker):
    news = asyncio.Event()
    end = await Line.to(line.path, news.set)
    await end.call(data())
    assert not news.is_set()
    await asyncio.to_thread(line.news)
    async with asyncio.timeout(30):
        await news.wait()
    news.clear()
    taker.go.clear()
    call = asyncio.create_task(end.call(data(9)))
    await until(lambda: len(taker.came) == 2, "the call is taken")
    await asyncio.to_thread(line.news)
    taker.go.set()
    assert (await call).taken == 9
    assert news.is_set()
    end.close()


@on_a_loop
async def test_an_actor_that_goes_is_noticed_while_nothing_is_asked_and_ends_a_call(line, taker):
    told = asyncio.Event()
    end = await Line.to(line.path, told.set)
    taker.go.clear()
    call = asyncio.create_task(end.call(data()))
    await until(lambda: taker.came, "the call is taken")
    taker.error = Unavailable("no desk yet")
    taker.go.set()
    with pytest.raises(Unavailable):
        await call
    assert told.is_set()
    assert end.ended
    with pytest.raises(Unavailable):
        await end.call(data())

    taker.error = None
    again, told = await Line.to(line.path, (second := asyncio.Event()).set), second
    assert (await again.call(data(3))).taken == 3
    await asyncio.to_thread(line.close)
    async with asyncio.timeout(30):
        await told.wait()
    assert again.ended


@on_a_loop
async def test_the_answer_to_a_call_that_was_given_up_is_not_taken_for_the_next_ones(line, taker):
    end = await Line.to(line.path, lambda: None)
    taker.go.clear()
    call = asyncio.create_task(end.call(data(1)))
    await until(lambda: taker.came, "the call is taken")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    taker.go.set()
    with pytest.raises(Unavailable):
        await end.call(data(2))
    again = await Line.to(line.path, lambda: None)
    assert (await again.call(data(3))).taken == 3
    again.close()


@on_a_loop
async def test_only_its_user_comes_to_it_and_what_a_killed_one_left_goes(tmp_path, taker):
    folder = tmp_path / "live"
    folder.mkdir()
    (folder / "1.sock").touch()
    line = LiveLine(folder / "deeper", taker)
    (folder / "deeper" / "1.sock").touch()
    line.close()
    line = LiveLine(folder / "deeper", taker)
    assert [entry.stat().st_mode & 0o777 for entry in (folder / "deeper").glob("*.sock")] == [0o600]
    assert (folder / "deeper").stat().st_mode & 0o777 == 0o700
    line.close()
    assert not list((folder / "deeper").iterdir())
    with pytest.raises(OSError, match=r".+"):
        await Line.to(line.path, lambda: None)


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')", reason="long paths go by /proc")
@on_a_loop
async def test_a_path_longer_than_a_sockets_name_is_reached(tmp_path, taker):
    folder = tmp_path / ("long" * 40)
    line = LiveLine(folder, taker)
    assert len(line.path) > PATH_MOST
    end = await Line.to(line.path, lambda: None)
    assert (await end.call(data(4))).taken == 4
    end.close()
    line.close()
