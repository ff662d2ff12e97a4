"""Two bridges, processes of their own: both answer, one publishes; `kill -9` of that one loses and doubles nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nats
import orjson
import pytest
from fixtures_nats import peer_of, stored_in, until

from bus.lease import Lease
from bus.streams import EVENTS, INBOUND
from contracts.settings import Settings

SUBJECT = "risk.factor_request.factor_exposures"

# Says who it is in its answers, by the calculation's values.
BRIDGE = """
import asyncio, os, sys
from pathlib import Path
from fixtures_nats import ClientDouble
from bus import inbound
from bus.bridge import Bridge
from contracts.settings import Settings

inbound.ACK_WAIT_S = 3.0  # so long wait the messages that a killed bridge had

async def main():
    client = ClientDouble(lambda operation, request: {"pid": float(os.getpid())})
    await Bridge(Settings(run_dir=Path(sys.argv[1])), client, int(sys.argv[2])).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def bridges(own_server):
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    made = [
        subprocess.Popen([sys.executable, "-c", BRIDGE, str(own_server.run_dir), str(number)], env=environment)
        for number in (1, 2)
    ]
    yield made
    for process in made:
        process.kill()
        process.wait()


def leader(server):
    try:
        return int((server.run_dir / "outbox" / "bridge.lease").read_text())
    except (FileNotFoundError, ValueError):
        return None


async def ask(nc, name, wait_s=30.0):
    body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": name})
    reply = orjson.loads((await nc.request(SUBJECT, body, timeout=wait_s)).data)
    return int(reply["calculation_result"]["factor_exposures"]["pid"])


async def asked_until_answered(nc, name):
    """Ask as a peer does that was told nothing: again, after a while. Gives how often."""
    for times in range(1, 20):
        try:
            await ask(nc, name, 3.0)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            continue
        return times
    raise AssertionError(f"{name} was never answered")


def test_kill_9_of_the_bridge_that_publishes_loses_and_doubles_nothing(own_server, bridges):
    async def run():
        async with peer_of(own_server) as nc:
            pids = {process.pid for process in bridges}
            answered = Counter()

            async def both():
                try:
                    answered[await ask(nc, "warm", 1.0)] += 1
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                    return False
                return set(answered) == pids

            await until(both, "each of the two answers requests")
            await until(lambda: leader(own_server) in pids, "one of them leads")
            first = next(process for process in bridges if process.pid == leader(own_server))
            js = nc.jetstream()

            stop = asyncio.Event()
            asked, again = [], []

            async def requester(number):
                while not stop.is_set():
                    name = f"p{number}-{len(asked)}"
                    asked.append(name)
                    if await asked_until_answered(nc, name) > 1:
                        again.append(name)

            async def durable():
                for number in range(150):
                    body = orjson.dumps({"portfolio_weights": {"A": 1.0}, "portfolio_id": f"d{number}"})
                    await js.publish(f"factor.in.{SUBJECT}", body)
                    if number == 50:
                        first.send_signal(signal.SIGKILL)

            requesters = [asyncio.create_task(requester(number)) for number in range(4)]
            await durable()
            await asyncio.to_thread(first.wait)
            await until(lambda: leader(own_server) in pids - {first.pid}, "the other one leads")

            async def taken():
                return (await js.stream_info(INBOUND)).state.messages == 0

            await until(taken, "what was handed in durably is done", 90.0)
            await until(lambda: len(asked) > 20, "others were answered meanwhile", 90.0)
            stop.set()
            await asyncio.gather(*requesters)
            assert await ask(nc, "last") in pids - {first.pid}

            # An answer is given when its event is in the outbox: what was answered is told, by whoever.
            names = {*asked, "last", *(f"d{number}" for number in range(150))}

            async def told():
                events = await stored_in(nc, EVENTS)
                return names <= {orjson.loads(e.data)["portfolio_id"] for e in events}

            await until(told, "every result was told")
            events = await stored_in(nc, EVENTS)
            assert max(Counter(e.headers["ce-id"] for e in events).values()) == 1
            of_one = Counter(orjson.loads(e.data)["portfolio_id"] for e in events)
            doubled = {name for name, count in of_one.items() if count > 1} - {"warm"}
            # A read that was asked again, as its answerer died, is another calculation; no other is told twice.
            assert doubled <= set(again)

    asyncio.run(run())


def test_a_lease_is_one_holders_and_passes_on(tmp_path):
    async def run():
        mine, other = Lease(tmp_path / "x" / "lease"), Lease(tmp_path / "x" / "lease")
        got = asyncio.Event()

        async def wait():
            async with other.hold():
                got.set()

        async with mine.hold():
            assert (mine.held, int(mine.path.read_text())) == (True, os.getpid())
            waiting = asyncio.create_task(wait())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await got.wait()
            assert not other.held
        assert not mine.held
        await waiting
        assert got.is_set()

    asyncio.run(run())


def test_by_default_there_is_one_bridge(tmp_path):
    assert Settings(run_dir=tmp_path).bridges == 1
