import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BodyTooLarge, MalformedBody
from contracts.json_text import MAX_DEPTH, read_json_text
from contracts.settings import settings

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
def test_what_is_json_is_read_as_it_is(value):
    assert read_json_text(orjson.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}',
        b'{"portfolio_weights": {"A": 1, "B": 2, "A": 3}}',
        b'[{"date": "2024-01-02"}, {"date": "2024-01-02", "date": "2024-01-03"}]',
        b'{"a": "with: a colon", "b": [{"a": 1, "a": 1}]}',
        b'{"a": NaN, "a": 1}',
        b'{"\\u0061": 1, "a": 2}',
    ],
)
def test_a_key_that_is_given_twice_is_an_error_that_names_it(text):
    with pytest.raises(MalformedBody, match="occurs twice in one object"):
        read_json_text(text)


@pytest.mark.parametrize(
    "text", [b'{"a": "T00:00:00", "b:c": ":"}', b'{"a": {"a": {"a": 1}}}', b'[{"a": 1}, {"a": 1}]']
)
def test_colons_in_texts_and_keys_of_other_objects_are_no_repetition(text):
    assert read_json_text(text) == orjson.loads(text)


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_nesting_has_a_bound(open_, close):
    whole = f"{open_ * MAX_DEPTH}{close * MAX_DEPTH}".replace(":}", ":1}").encode()
    assert read_json_text(whole)
    for depth in (MAX_DEPTH + 1, 900, 100_000):
        with pytest.raises(MalformedBody, match=r"nested more than|is not JSON"):
            read_json_text(f"{open_ * depth}{close * depth}".replace(":}", ":1}").encode())


@pytest.fixture
def limit_of_1000(monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_JSON_VALUE_LIMIT", "1000")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize("item", [b"[],", b"{},", b"1,", b'"",', b"[[[1]]],", b'{"a":1},'])
def test_values_are_counted_before_they_are_made(limit_of_1000, item):
    with pytest.raises(BodyTooLarge, match="over the limit of 1,000"):
        read_json_text(b"[" + item * 1001 + b"1]")


def test_what_stands_inside_of_texts_is_no_value(limit_of_1000):
    text = "a,[{" * 5000
    assert read_json_text(orjson.dumps({"formula": text})) == {"formula": text}


def test_nan_and_infinities_are_read_for_the_error_that_names_their_field():
    read = read_json_text(b'{"a": [NaN, -Infinity]}')
    assert math.isnan(read["a"][0])
    assert read["a"][1] == -math.inf
