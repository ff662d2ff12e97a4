"""Whatever bytes, texts and headers come in: an answer or an error of the one tree, never another exception."""

import asyncio
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bus.read_request import bar_payload, read_payload, request_of
from bus.reader import Reader
from bus.requests import read_headers, require_own
from bus.subjects import groups, may_reply, resolve
from contracts import frames
from contracts.errors import EngineError, InvalidInput, MalformedBody, Unavailable, UnknownOperation
from contracts.events import token, untoken
from contracts.nkey import NKey
from contracts.operations import OPERATIONS
from contracts.requests import Request
from contracts.settings import Settings
from contracts.tokens import of_environment, read_tokens

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ROOT = Path(__file__).parents[2]
FUZZ = settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
FEW = settings(FUZZ, max_examples=25)
TABLE = pl.DataFrame({"date": ["2020-01-01"] * 5, "symbol": list("ABCDE"), "x": [1.0, 2.0, None, 4.0, 5.0]})


def parquet():
    out = io.BytesIO()
    TABLE.write_parquet(out)
    return out.getvalue()


BULK = {
    frames.ARROW_STREAM: frames.encode(TABLE),
    frames.CSV: TABLE.write_csv().encode(),
}


@contextlib.contextmanager
def or_refused(*statuses):
    """Let an error of these statuses pass; it can be told."""
    refused = None
    try:
        yield
    except EngineError as error:
        refused = error
    if refused is not None:
        assert refused.status in statuses, refused
        orjson.dumps(refused.to_problem())


@FUZZ
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"a":' * 50_000)
@example(b"\xff\xfe\x00")
@example(b'{"a": 1e999999}')
def test_a_body_is_an_object_or_refused(body):
    with or_refused(400, 413, 422):
        assert isinstance(read_payload(body, {}, {}), dict)
    with or_refused(400, 413, 422):
        bar_payload(body, "main")


@pytest.mark.parametrize("name", OPERATIONS)
@FEW
@given(data=st.data())
def test_an_object_is_a_request_of_the_operation_or_refused(name, data):
    """Half of the time the fields are those of the operation, with anything in them."""
    fields = list(OPERATIONS[name].request.model_fields)
    known = st.dictionaries(st.sampled_from(fields), JSON, max_size=4) if fields else st.just({})
    shown = st.just(dict(OPERATIONS[name].example))
    payload = data.draw(JSON | known | st.builds(lambda a, b: {**a, **b}, shown, known))
    with or_refused(400, 404, 413, 422):
        assert isinstance(request_of(OPERATIONS[name], payload, "main"), Request)


def damaged(data, whole):
    """Give a body with up to four bytes changed, perhaps cut, and one of any bytes."""
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    cut = bytes(body[: data.draw(st.integers(0, len(body)))]) if data.draw(st.booleans()) else bytes(body)
    return cut, data.draw(st.binary(max_size=100))


@pytest.mark.parametrize("kind", BULK)
@FUZZ
@given(data=st.data())
def test_a_bulk_table_with_bytes_changed_is_a_table_or_refused(kind, data):
    for given_bytes in damaged(data, BULK[kind]):
        with or_refused(400, 413, 415, 422):
            assert isinstance(frames.from_bulk(given_bytes, kind), pl.DataFrame)


def test_an_arrow_body_that_asks_for_petabytes_is_refused_and_does_not_end_the_process():
    """The library that decodes it aborts the process where such a length is taken at its word."""
    kind, whole = frames.ARROW_STREAM, BULK[frames.ARROW_STREAM]
    program = (
        "import random, sys\nfrom contracts import frames\nfrom contracts.errors import EngineError\n"
        "whole, rng = sys.stdin.buffer.read(), random.Random(1)\n"
        "for _ in range(100_000):\n    body = bytearray(whole)\n"
        "    for _ in range(rng.randint(1, 4)):\n        body[rng.randrange(len(body))] = rng.randint(0, 255)\n"
        f"    try:\n        frames.from_bulk(bytes(body), {kind!r})\n    except EngineError:\n        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=whole, capture_output=True, timeout=300, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(Settings(run_dir=str(tmp_path_factory.mktemp("run"))))
    yield made
    made.close()


@FEW
@given(data=st.data())
def test_parquet_with_bytes_changed_is_a_table_or_refused_by_the_reader(reader, tmp_path, data):
    """Of some such bodies the library that decodes them ends its process, which is not that of a test or a face."""
    for number, given_bytes in enumerate(damaged(data, parquet())):
        path = tmp_path / f"{number}.upload"
        path.write_bytes(given_bytes)
        with or_refused(400, 413, 415, 422):
            assert asyncio.run(reader.table(path, frames.PARQUET, {"date_col": "date", "symbol_col": "symbol"}))


@FUZZ
@given(st.text(max_size=80) | st.builds("{}.{}".format, st.sampled_from(sorted(groups())), st.text(max_size=20)))
def test_a_subject_finds_an_operation_or_is_refused(subject):
    may_reply(subject)
    try:
        operation, given_fields = resolve(subject)
    except (UnknownOperation, InvalidInput) as error:
        orjson.dumps(error.to_problem())
    else:
        assert set(given_fields) <= set(operation.request.model_fields)


@FUZZ
@given(st.text())
def test_any_name_is_one_token_and_back(name):
    one = token(name)
    assert may_reply(f"x.{one}")
    assert untoken(one) == name


@FUZZ
@given(st.text(max_size=30))
@example("=\x80")
@example("=FF")
@example("=+1")
@example("a=")
def test_any_token_is_read_or_refused(text):
    with contextlib.suppress(InvalidInput):
        assert isinstance(untoken(text), str)


HEADERS = ("factor-priority", "factor-timeout-ms", "factor-request-id", "factor-engine-id", "x")


@FUZZ
@given(st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=300)))
@example({"factor-timeout-ms": "1e400"})
@example({"factor-timeout-ms": "nan"})
def test_headers_are_read_or_refused(headers):
    with or_refused(421, 422):
        _, timeout_s, _ = read_headers(headers)
        assert timeout_s is None or 0 < timeout_s < 86_400
        require_own(headers, "own")


@FUZZ
@given(st.text(max_size=100))
def test_rows_of_the_environment_are_tokens_or_refused(text):
    with contextlib.suppress(InvalidInput):
        of_environment(text)


@FUZZ
@given(JSON)
def test_a_token_file_is_read_or_lets_nobody_in(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"tokens": value}))
    with contextlib.suppress(Unavailable):
        read_tokens(path)


@FUZZ
@given(st.text(max_size=80))
def test_a_seed_is_one_or_refused(text):
    with contextlib.suppress(InvalidInput):
        NKey(text)


def test_a_body_that_is_no_json_says_where():
    with pytest.raises(MalformedBody):
        read_payload(b"{", {}, {})
