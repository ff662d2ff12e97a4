import datetime as dt

from contracts import events
from contracts.events import event, utc_now


def test_the_time_of_an_event_is_rfc_3339_in_utc_to_the_microsecond(monkeypatch):
    for ns, text in (
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_582_934_400_000_001_999, "2020-02-29T00:00:00.000001Z"),
        (1_582_934_399_999_999_999, "2020-02-28T23:59:59.999999Z"),
    ):
        monkeypatch.setattr(events.time, "time_ns", lambda ns=ns: ns)
        assert utc_now() == text
        assert event("a", "b", b"").time == text


def test_it_is_now():
    before = dt.datetime.now(dt.UTC)
    told = dt.datetime.fromisoformat(utc_now())
    assert before <= told <= dt.datetime.now(dt.UTC)
