"""A stream that takes no writes is named, and a server that cannot mend itself is started again."""

import asyncio
import os
import signal
import subprocess
import sys

import nats
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, until

from bus import probe, streams
from contracts.access import restart_wanted
from engine.nats_server import NatsServer
from launch.nats_keeper import NatsKeeper

mounts = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
MARKET = "market_data.bar.all"


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            pass


async def taken(nc, subject) -> bool:
    try:
        await nc.jetstream().publish(subject, b"x" * 1000, timeout=1.0)
    except (TimeoutError, nats.errors.Error):
        return False
    return True


@mounts
def test_after_a_full_disk_the_streams_take_writes_again_without_anybodys_help(small_disk, monkeypatch):
    monkeypatch.setattr(probe, "CALM_S", 0.2)
    monkeypatch.setattr(probe, "TROUBLED_S", 0.2)
    monkeypatch.setattr(probe, "ANSWER_S", 0.5)
    server = NatsServer(small_disk, port=0)
    server.start()
    told = []
    keeper = NatsKeeper(server, told.append, lambda: False)

    async def run():
        async with bridge_over(server, ClientDouble()) as bridge, peer_of(server) as nc:
            limits = bridge.status()["stream_limit_bytes"]
            assert sum(limits.values()) < 48 * 2**20, "streams are sized to the disk"
            assert await taken(nc, MARKET)
            fill(small_disk / "fill")
            await until(lambda: bridge.status()["streams_without_writes"], "the fault is named")
            faults = bridge.status()["streams_without_writes"]
            assert all("full" in fault["reason"] for fault in faults.values())
            assert bridge.status()["state"] == "DEGRADED"
            assert not restart_wanted(server.run_dir, take=False), "a full disk is not helped by a new start"
            (small_disk / "fill").unlink()
            await until(lambda: restart_wanted(server.run_dir, take=False), "a new start is asked for")
            await asyncio.to_thread(keeper.look)
            await until(lambda: bridge.status()["state"] == "READY", "the bridge is well again")
            assert bridge.status()["streams_without_writes"] == {}
            await until(lambda: taken(nc, MARKET), "the bar stream takes writes")

    try:
        asyncio.run(run())
        assert any("started again" in line for line in told)
    finally:
        server.stop()


def test_probes_leave_nothing_in_the_streams(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            js = nc.jetstream()
            await bridge.probe.look(nc)
            assert bridge.probe.faults == {}
            for name in streams.NAMES:
                assert (await js.stream_info(name)).state.messages == 0

    asyncio.run(run())


def test_a_stream_that_is_gone_is_named_and_the_server_is_asked_to_start_again(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            js = nc.jetstream()
            await js.delete_stream(streams.MARKET_DATA)
            for _ in range(probe.RESTART_AFTER):
                await bridge.probe.look(nc)
            assert set(bridge.probe.faults) == {streams.MARKET_DATA}
            assert restart_wanted(own_server.run_dir, take=True)

    asyncio.run(run())


def test_streams_never_get_smaller_than_what_they_hold(own_server):
    async def run():
        async with peer_of(own_server) as nc:
            js = nc.jetstream()
            await streams.ensure(js)
            for _ in range(40):
                await js.publish(MARKET, bytes(100_000))
            held = (await js.stream_info(streams.MARKET_DATA)).state.bytes
            limits = await streams.ensure(js, free_bytes=0)
            assert limits[streams.MARKET_DATA] >= held
            assert (await js.stream_info(streams.MARKET_DATA)).state.messages == 40
            assert limits[streams.INBOUND] < held

    asyncio.run(run())


def test_a_server_that_answers_nothing_is_not_taken_for_one_whose_streams_are_broken(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, peer_of(own_server) as nc:
            os.kill(own_server.pid, signal.SIGSTOP)
            try:
                for _ in range(probe.RESTART_AFTER):
                    await bridge.probe.look(nc)
            finally:
                os.kill(own_server.pid, signal.SIGCONT)
            assert bridge.probe.faults == {}
            assert not restart_wanted(own_server.run_dir, take=False)

    asyncio.run(run())
