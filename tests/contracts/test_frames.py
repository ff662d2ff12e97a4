"""The forms in which a table may come are one table; what is no table is refused by field and rows."""

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import frames
from contracts.errors import InvalidInput, MalformedBody, Unavailable, UnsupportedMedia
from contracts.settings import settings

NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
COLUMNS = st.integers(1, 6).flatmap(
    lambda n: st.fixed_dictionaries(
        {
            "date": st.lists(st.text("0123456789-", min_size=1), min_size=n, max_size=n),
            "x": st.lists(NUMBERS, min_size=n, max_size=n),
            "held": st.lists(st.booleans(), min_size=n, max_size=n),
        }
    )
)


@given(COLUMNS)
def test_the_three_json_forms_give_the_same_table(columns):
    names, rows = list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
    forms = (columns, {"columns": names, "data": rows}, [dict(zip(names, row, strict=True)) for row in rows])
    tables = [frames.from_json(orjson.loads(orjson.dumps(form))) for form in forms]
    assert dict(tables[0].schema) == {"date": pl.String, "x": pl.Float64, "held": pl.Boolean}
    assert tables[0].to_dict(as_series=False) == columns
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert frames.decode(frames.encode(tables[0])).equals(tables[0])


@pytest.mark.parametrize(
    ("value", "field", "rows"),
    [
        ("text", "f", None),
        (7, "f", None),
        ({}, "f", None),
        ({"x": []}, "f", None),
        ([], "f", None),
        ({"x": 1}, "f.x", None),
        ({"x": [1], "y": [1, 2]}, "f", None),
        ({"columns": ["x"], "data": [[1], [1, 2], 3]}, "f.data", [1, 2]),
        ({"columns": ["x", "x"], "data": [[1, 2]]}, "f.columns", None),
        ({"columns": "x", "data": [[1]]}, "f.columns", None),
        ({"columns": ["x"], "data": {"x": 1}}, "f.data", None),
        ([{"x": 1}, 2, {"x": 3}], "f", [1]),
        ({"x": [1.0, "two", 3.0, True]}, "f.x", [1, 3]),
        ({"x": ["a", "b", True]}, "f.x", [2]),
        ({"x": [[1], [2]]}, "f.x", [0, 1]),
        ([[1, 2], [3, 4]], "f", None),
        ({"columns": ["x"], "index": ["2024-01-02"], "data": [[1]]}, "f.index", None),
        ({"columns": ["x"], "index": [1704153600000], "data": [[1]]}, "f.index", None),
        ({"x": {"AAPL": 1.0}, "y": {"AAPL": 2.0}}, "f.index", None),
        ({"x": {"0": 1.0}, "y": {"1": 2.0}}, "f.y", None),
    ],
)
def test_what_is_no_table_is_refused_by_field_and_rows(value, field, rows):
    with pytest.raises(InvalidInput) as told:
        frames.from_json(value, "f")
    assert (told.value.field, told.value.rows) == (field, rows)


def test_a_table_of_too_many_columns_is_refused():
    with pytest.raises(InvalidInput, match="at most 2000"):
        frames.from_json({f"c{i}": [1.0] for i in range(frames.MAX_COLUMNS + 1)})


def test_numbers_with_text_between_are_text_as_in_a_csv():
    read = frames.from_json({"x": [0.1, "NA", 7, None, 1e-300]})
    assert read.to_dict(as_series=False) == {"x": ["0.1", "NA", "7", None, "1e-300"]}


def test_a_column_of_nothing_but_nulls_is_one_of_missing_numbers():
    assert frames.from_json({"x": [None, None]}).to_dict(as_series=False) == {"x": [None, None]}


@pytest.fixture
def table():
    return pl.DataFrame({"symbol": ["A", "B", "C"] * 50, "x": [float(i) for i in range(150)]})


def parquet(table):
    import io

    sink = io.BytesIO()
    table.write_parquet(sink)
    return sink.getvalue()


def test_bulk_bodies_are_read_by_their_content_type_in_its_several_spellings(table):
    assert frames.from_bulk(frames.encode(table), f"{frames.ARROW_STREAM.upper()}; charset=binary").equals(table)
    for kind in (frames.PARQUET, "application/x-parquet", "application/parquet"):
        assert frames.from_bulk(parquet(table), kind).equals(table)
    with pytest.raises(UnsupportedMedia, match="text/html"):
        frames.from_bulk(b"x\n1\n", "text/html")


def test_a_csv_is_read_as_text_and_refused_when_it_is_cut_off_or_ragged():
    whole = b"symbol,x\n0700,1.5\n9988,NA\n"
    table = frames.from_bulk(whole, "text/csv; charset=utf-8")
    assert table.to_dict(as_series=False) == {"symbol": ["0700", "9988"], "x": ["1.5", "NA"]}
    for bad in (whole[:-4], whole + b"1,2,3\n", b"\xff\xfe\x00"):
        with pytest.raises((MalformedBody, InvalidInput)):
            frames.from_bulk(bad, frames.CSV)


@given(COLUMNS)
def test_what_pandas_writes_is_the_same_table(columns):
    names, n = list(columns), len(columns["x"])
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    shapes = (
        {"columns": names, "index": list(range(n)), "data": rows},
        {name: {str(i): value for i, value in enumerate(values)} for name, values in columns.items()},
        {str(i): row for i, row in enumerate(objects)},
        {"schema": {"primaryKey": ["index"], "fields": []}, "data": [{"index": i, **o} for i, o in enumerate(objects)]},
    )
    plain = frames.from_json(columns)
    for shape in shapes:
        assert frames.from_json(orjson.loads(orjson.dumps(shape))).select(names).equals(plain)


@pytest.mark.parametrize("kind", [frames.ARROW_STREAM, frames.PARQUET])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97])
def test_a_body_that_is_cut_off_is_malformed_or_without_rows_and_nothing_else(table, kind, share):
    whole = frames.encode(table) if kind == frames.ARROW_STREAM else parquet(table)
    with pytest.raises((MalformedBody, InvalidInput)):
        frames.from_bulk(whole[: int(share * len(whole))], kind)


def test_a_table_without_rows_is_refused(table):
    with pytest.raises(InvalidInput, match="no rows"):
        frames.from_bulk(frames.encode(table.head(0)), frames.ARROW_STREAM)


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path / "run"))
    settings.cache_clear()
    (tmp_path / "run").mkdir()
    yield tmp_path / "run"
    settings.cache_clear()


def test_a_table_may_stay_in_a_file_of_the_run_directory_and_nowhere_else(run_dir, table):
    inside, outside = run_dir / "a.parquet", run_dir.parent / "b.parquet"
    for path in (inside, outside):
        table.write_parquet(path)
    assert frames.decode(frames.file_reference(inside, frames.PARQUET)).equals(table)
    with pytest.raises(InvalidInput, match="run directory"):
        frames.decode(frames.file_reference(outside, frames.PARQUET))
    with pytest.raises(InvalidInput, match="run directory"):
        frames.decode(frames.file_reference(run_dir / ".." / "b.parquet", frames.PARQUET))
    inside.unlink()
    with pytest.raises(Unavailable, match=r"a\.parquet"):
        frames.decode(frames.file_reference(inside, frames.PARQUET))
