"""A large answer is written in blocks, and between them the event loop serves others; the text is the same."""

import asyncio
import sys

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import answer_text
from bus.answer_form import formed
from bus.answer_text import BLOCK, Few, TooLong, as_json, n_values, written
from contracts.operations import OPERATIONS

PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3)
TREES = st.recursive(
    PLAIN | st.lists(PLAIN, max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=6),
    max_leaves=60,
)


@given(body=TREES, block=st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_the_text_in_blocks_is_the_text_written_at_once(body, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_text, "BLOCK", block)
        assert asyncio.run(written(body)) == as_json(body)


LARGE = {
    "success": True,
    "calculation_result": {
        "factor_values": {f"f{k}": {form: [0.5] * 400 for form in ("raw", "rank")} for k in range(40)},
        "exposures": {f"S{i}": 1.0 for i in range(3 * BLOCK)},
        "symbols": [f"S{i}" for i in range(2 * BLOCK)],
        "rows": [[float(i)] * 100 for i in range(200)],
        "shape": (3, 4),
        "array": np.arange(3.0),
        "missing": float("nan"),
        "empty": [],
    },
}


def test_no_part_of_a_large_answer_is_more_than_a_block():
    parts, counts = zip(*answer_text._parts(LARGE), strict=True)
    assert b"".join(parts) == as_json(LARGE)
    assert max(counts) <= BLOCK
    longest = max(parts, key=len).lstrip(b",{[")
    # The longest is one of text: a name, its quotes, a comma or a colon.
    assert len(longest) < BLOCK * len('"S123456":1.0,')
    assert len(parts) > 100_000 / BLOCK


def test_while_a_large_answer_is_written_the_event_loop_goes_round():
    async def rounds(body):
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        text = await written(body)
        counting.cancel()
        return turns, text

    turns, text = asyncio.run(rounds(LARGE))
    assert turns >= 100_000 / BLOCK
    assert orjson.loads(text)["calculation_result"]["missing"] is None
    turns, _ = asyncio.run(rounds({"success": True, "calculation_result": {"beta": 1.0}}))
    assert turns == 0, "a short answer goes at once"


def test_what_is_known_to_be_few_is_counted_and_written_as_any_dictionary():
    body = {"success": True, "calculation_result": Few({"a": 1.0, "b": {"c": [1, 2]}})}
    plain = {"success": True, "calculation_result": {"a": 1.0, "b": {"c": [1, 2]}}}
    assert n_values(body, BLOCK) == n_values(plain, BLOCK)
    assert as_json(body) == as_json(plain) == asyncio.run(written(body))
    large = Few({f"S{i}": 1.0 for i in range(3 * BLOCK)})
    assert asyncio.run(written({"x": large})) == as_json({"x": dict(large)})


def test_values_are_counted_as_far_as_needed():
    assert n_values({"a": 1.0, "b": [1, 2, 3], "c": {"d": None}, "e": []}, BLOCK) == 4 + 3 + 1
    assert BLOCK < n_values(LARGE, BLOCK) < 6 * BLOCK


@pytest.mark.parametrize(
    "body",
    [
        {f"S{i}": 1.0 for i in range(40 * BLOCK)},
        [{"a": 1.0, "b": 2.0} for _ in range(20 * BLOCK)],
        {f"f{k}": {f"S{i}": 0.5 for i in range(3000)} for k in range(40)},
    ],
    ids=["names", "rows", "tables"],
)
def test_the_event_loop_is_held_for_a_block_at_a_time(body, monkeypatch):
    """What is counted in one go holds it up as what is written does, so lines of code are counted between two turns."""
    answer = {"calculation_result": {"factor_values": body}}
    steps, lines = [], 0

    def count(frame, event, _):
        nonlocal lines
        lines += event == "line"
        return count

    def begin(frame, event, argument):
        return count if frame.f_code.co_filename == answer_text.__file__ else None

    async def turn(_):
        nonlocal lines
        steps.append(lines)
        lines = 0

    monkeypatch.setattr(answer_text.asyncio, "sleep", turn)
    kept = sys.gettrace()
    sys.settrace(begin)
    try:
        made = asyncio.run(formed(OPERATIONS["style_factors"], answer, arrow=False))
    finally:
        sys.settrace(kept)
    assert made.body == as_json(answer)
    assert len(steps) > 30
    assert max(steps) < 10 * BLOCK


def test_a_text_with_more_than_it_may_have_is_given_up_on_the_way():
    values = sum(count for _, count in answer_text._parts(LARGE))
    size = len(as_json(LARGE))
    assert asyncio.run(written(LARGE, most_values=values, most_bytes=size)) == as_json(LARGE)
    for limit in ({"most_values": values - 1}, {"most_bytes": size - 1}):
        with pytest.raises(TooLong):
            asyncio.run(written(LARGE, **limit))
    with pytest.raises(TooLong):
        asyncio.run(written([1, 2, 3], most_bytes=6))
