"""Values that are there before their day is durable: taken only where what was stored is what they are of."""

import asyncio

import pytest

from bus.foreseen import Foreseen
from contracts.answers import Calculation


def said(version=4, day="a"):
    return Calculation({}, "", 1.0, version, day=day)


def answered(foresee, stored):
    async def run():
        async with Foreseen(foresee, "append_day", None) as foreseen:
            if stored is not None:
                foreseen.stored(stored)
            return await foreseen.values()

    return asyncio.run(run())


def saying(made):
    async def foresee(operation, request):
        assert operation == "append_day"
        return made

    return foresee


def test_values_are_given_for_the_very_day_and_version_that_were_stored():
    assert answered(saying(said()), said()) == said()


@pytest.mark.parametrize(
    "stored",
    [said(day="b"), said(version=5), said(day=""), None],
    ids=["another row", "another version between", "a writer that does not say", "nothing stored"],
)
def test_values_of_anything_else_are_thrown_away(stored):
    assert answered(saying(said()), stored) is None


def test_a_library_that_cannot_say_or_fails_holds_nothing_up(caplog):
    async def fails(operation, request):
        raise RuntimeError("a defect")

    assert answered(None, said()) is None
    assert answered(saying(None), said()) is None
    assert answered(fails, said()) is None
    assert "a defect" in caplog.text


def test_what_is_still_asked_for_ends_with_the_bar():
    async def run():
        ended = asyncio.Event()

        async def never(operation, request):
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with Foreseen(never, "append_day", None):
            await asyncio.sleep(0)  # the asking begins
        return ended.is_set()

    assert asyncio.run(run())
