import asyncio
import gc

from nats.aio.client import Client

from bus.connection import close, connect
from contracts.settings import Settings


async def ignore(*_):
    """Take what nats-py reports."""


def test_a_connection_whose_end_was_interrupted_leaves_no_socket(nats_server):
    """nats-py calls it closed before it closes it, and then does nothing more: an unclosed socket would warn here."""

    async def run():
        nc, told = await connect(Settings(run_dir=nats_server.run_dir), "test", ignore, ignore)
        assert told["url"].startswith("nats://")
        nc._status = Client.CLOSED
        await close(nc)
        assert nc._transport._bare_io_writer.transport.is_closing()

    asyncio.run(run())
    gc.collect()


def test_a_connection_is_closed_twice_without_a_word(nats_server):
    async def run():
        nc, _ = await connect(Settings(run_dir=nats_server.run_dir), "test", ignore, ignore)
        await close(nc)
        await close(nc)
        assert nc.is_closed

    asyncio.run(run())
    gc.collect()
