import polars as pl
import pytest

from contracts import fingerprint as module
from contracts.fingerprint import fingerprint
from contracts.frames import ARROW_FILE, encode, file_reference
from contracts.requests import AppendDay, CleanFeatures

TABLE = pl.DataFrame({"date": ["2020-01-01"] * 3, "symbol": list("ABC"), "asset_returns": [0.1, None, 0.3]})


def append(**changes):
    given = {"model_id": "m", "feature_data": encode(TABLE), "request_id": "r"}
    return AppendDay(**{**given, **changes})


def test_the_same_write_is_the_same_however_urgent_and_under_whatever_id():
    assert fingerprint("append", append()) == fingerprint("append", append())
    assert fingerprint("append", append(request_id="other")) == fingerprint("append", append())
    assert fingerprint("append", append(messagebus_priority="low")) == fingerprint("append", append())


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": "n"},
        {"feature_data": encode(TABLE.with_columns(pl.col("asset_returns") * 2.0))},
        {"intake": {"date_format": "%d/%m/%Y"}},
    ],
)
def test_another_write_is_another(changes):
    assert fingerprint("append", append(**changes)) != fingerprint("append", append())
    assert fingerprint("correct", append()) != fingerprint("append", append())


def test_the_order_of_what_has_no_order_does_not_count():
    one = CleanFeatures(model_id="m", to_winsorize={"a": 0.1, "b": 0.2})
    other = CleanFeatures(model_id="m", to_winsorize={"b": 0.2, "a": 0.1})
    assert fingerprint("clean", one) == fingerprint("clean", other)


def test_a_table_in_a_file_is_known_by_what_it_holds_and_one_that_is_gone_by_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(module, "PIECES", 4)
    monkeypatch.setattr(module, "PIECE_BYTES", 100)
    path, copy = tmp_path / "one.arrow", tmp_path / "two.arrow"
    content = bytes(range(256)) * 20
    seen = set()
    for written in (content, content[:-1] + b"!", b"!" + content[1:], content[:500]):
        path.write_bytes(written)
        copy.write_bytes(written)
        told = fingerprint("append", append(feature_data=file_reference(path, ARROW_FILE)))
        assert told == fingerprint("append", append(feature_data=file_reference(copy, ARROW_FILE)))
        seen.add(told)
    assert len(seen) == 4
    path.unlink()
    assert fingerprint("append", append(feature_data=file_reference(path, ARROW_FILE))) == ""
