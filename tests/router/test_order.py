from __future__ import annotations

import asyncio

import pytest

from contracts.errors import DeadlineExceeded, QueueFull
from router.order import Order


def test_writes_of_a_model_follow_each_other_and_those_of_another_do_not_wait():
    async def scenario() -> list[str]:
        order, seen = Order(10), []

        async def write(model: str, name: str) -> None:
            async with order.turn(model, 10.0):
                seen.append(f"{name} begins")
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                seen.append(f"{name} ends")

        await asyncio.gather(write("m", "first"), write("m", "second"), write("n", "other"))
        assert not order._locks
        assert not order._users
        return seen

    seen = asyncio.run(scenario())
    assert seen.index("first ends") < seen.index("second begins")
    assert seen.index("other begins") < seen.index("first ends")


def test_a_write_that_waits_too_long_or_behind_too_many_is_told_so():
    async def scenario() -> None:
        order = Order(2)
        async with order.turn("m", 1.0):
            with pytest.raises(DeadlineExceeded):
                async with order.turn("m", 0.01):
                    pass
            waiting = asyncio.create_task(_take(order))
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                async with order.turn("m", 1.0):
                    pass
        await waiting
        async with order.turn("m", 1.0):
            pass

    asyncio.run(scenario())


async def _take(order: Order) -> None:
    async with order.turn("m", 10.0):
        pass
