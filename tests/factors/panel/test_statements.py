"""Tables with days of release: days that are added, and corrections, count as they do in the whole table."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.reading.states import model_of
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.frames import encode
from contracts.settings import settings as settings_of_the_engine
from factors import FactorModel, ModelSettings, Panel
from factors.live import LiveDay
from factors.panel.availability import as_of
from factors.panel.door import Door
from factors.panel.intake import Intake
from factors.panel.statements import Statements, counted

DAYS = np.array([d for d in np.arange("2024-01-01", "2024-03-16", dtype="datetime64[D]") if np.is_busday(d)])
NAMES = tuple(f"N{i:02d}" for i in range(12))
FIRST = 35


def table(seed=1):
    """Each name reports every 15 rows; the report is released nine days later, and other rows say nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for t, day in enumerate(DAYS):
        for i, name in enumerate(NAMES):
            told = t % 15 == i
            rows.append({
                "date": str(day), "symbol": name, "asset_returns": float(rng.standard_normal() * 0.01),
                "market_cap": 1e9 * (i + 1), "sector": "A" if i % 2 else "B",
                "book_price": float(1 + t + i) if told else None,
                "available_at": str(day + np.timedelta64(9, "D")) if told else None,
            })  # fmt: skip
    return pl.DataFrame(rows)


def day(frame, t):
    return frame.filter(pl.col("date") == str(DAYS[t]))


def grown(frame, first=FIRST, **fit):
    model = FactorModel(**fit).fit(frame.filter(pl.col("date") < str(DAYS[first])))
    for t in range(first, len(DAYS)):
        model.update(day(frame, t))
    return model


def bits(model):
    state = model.state()
    return {**state.day_asset, **state.day, **state.latest}


def test_a_day_added_counts_what_was_known_before_and_what_is_released_meanwhile():
    frame = table()
    whole, model = FactorModel().fit(frame), grown(frame)
    book = model.panel_.fields["book_price"]
    # N03 reports on row 33 (value 37) and is known nine days later; on row 34 the value of row 18 still counts.
    released = int(np.searchsorted(DAYS, DAYS[33] + np.timedelta64(9, "D")))
    assert book[34, 3] == 1 + 18 + 3
    assert book[released - 1 : released + 1, 3].tolist() == [22.0, 37.0]
    one, other = bits(whole), bits(model)
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert np.array_equal(values, other[name], equal_nan=values.dtype.kind == "f"), name


def test_a_model_that_is_stored_and_taken_up_again_knows_what_is_released_later(tmp_path):
    frame = table()
    FactorModel().fit(frame.filter(pl.col("date") < str(DAYS[FIRST]))).save(tmp_path / "m")
    model = FactorModel.load(tmp_path / "m")
    for t in range(FIRST, len(DAYS)):
        model.update(day(frame, t))
    whole = FactorModel().fit(frame)
    np.testing.assert_array_equal(model.scores_, whole.scores_)


def test_days_without_the_column_of_releases_leave_what_is_known_in_force():
    frame = table()
    without = frame.with_columns(pl.lit(None, pl.Float64).alias("book_price")).drop("available_at")
    model = FactorModel().fit(frame.filter(pl.col("date") < str(DAYS[FIRST]))).update(day(without, FIRST))
    whole = Panel.from_frame(frame.filter(pl.col("date") <= str(DAYS[FIRST])))
    said = frame.filter(pl.col("date") == str(DAYS[FIRST]))["book_price"].is_not_null().to_numpy()
    np.testing.assert_array_equal(model.panel_.fields["book_price"][-1][~said], whole.fields["book_price"][-1][~said])


def test_an_item_that_is_too_old_is_missing_on_a_day_that_is_added():
    frame = table()
    intake = Intake(fundamentals_max_age_days=20)
    whole = FactorModel(ModelSettings(intake=intake)).fit(frame)
    model = grown(frame, settings=ModelSettings(intake=intake))
    assert np.isnan(whole.panel_.fields["book_price"][-1]).any()
    np.testing.assert_array_equal(model.panel_.fields["book_price"], whole.panel_.fields["book_price"])


def too_old(report):
    return [(found.rows, found.n_rows) for found in report.findings if found.kind == "statements_too_old"]


def test_a_statement_that_becomes_too_old_is_told_once_however_the_days_came(tmp_path):
    frame, settings_ = table(), ModelSettings(intake=Intake(fundamentals_max_age_days=20))
    whole = FactorModel(settings_).fit(frame)
    ((rows, n_rows),) = too_old(whole.quality_)
    # N11 reports on row 26, which counts for 20 days: until row 40.
    lapses = int(np.searchsorted(DAYS, DAYS[26] + np.timedelta64(21, "D")))
    assert (str(DAYS[lapses]), "N11") in rows
    assert n_rows == len(set(rows))
    assert sorted(too_old(grown(frame, settings=settings_).quality_)) == [(rows, n_rows)]
    half = FactorModel(settings_).fit(frame.filter(pl.col("date") < str(DAYS[FIRST])))
    half.save(tmp_path / "m")
    kept = FactorModel.load(tmp_path / "m")
    assert too_old(kept.quality_) == too_old(half.quality_)
    for t in range(FIRST, len(DAYS)):
        kept.update(day(frame, t))
    assert too_old(kept.quality_) == [(rows, n_rows)]
    assert not too_old(FactorModel().fit(frame).quality_)  # nothing is older than 18 months


def test_a_running_day_has_what_is_released_today():
    frame = table()
    last = int(np.searchsorted(DAYS, DAYS[33] + np.timedelta64(9, "D"))) - 1
    model = FactorModel().fit(frame.filter(pl.col("date") <= str(DAYS[last])))
    running = LiveDay(model, DAYS[last + 1])
    running.tick(np.arange(12), {"returns": np.full(12, 0.01), "market_cap": np.arange(1.0, 13.0) * 1e9})
    assert running.adjusted()["book_price"][3] == 37.0
    values = running.peek()
    model.update(running.close())
    assert model.panel_.fields["book_price"][-1, 3] == 37.0
    np.testing.assert_array_equal(model.scores_[-1], values.scores)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 39), limit=st.sampled_from([None, 5, 30]))
def test_batch_and_day_by_day_are_the_definition(seed, cut, limit):
    rng = np.random.default_rng(seed)
    shape = (40, 3)
    raw = np.where(rng.random(shape) < 0.2, rng.standard_normal(shape), np.nan)
    own = np.broadcast_to(np.arange(40)[:, None], shape)
    late = np.where(rng.random(shape) < 0.5, own + rng.integers(0, 25, shape), np.nan).astype(float)
    dates = np.arange(40).astype("datetime64[D]")
    panel = Panel(dates, ("A", "B", "C"), {"book": raw, "available_day": late})
    known = np.fmax(late, own).astype(np.int64).astype("datetime64[D]")
    lapsed = np.zeros(shape, dtype=np.bool_)
    expected = as_of(dates, known, raw, np.broadcast_to(dates[:, None], shape), limit, lapsed)
    batch, _, told = counted(panel, Statements(), limit)
    np.testing.assert_array_equal(batch.fields["book"], expected)
    begins = lapsed & ~np.vstack([np.zeros((1, 3), dtype=np.bool_), lapsed[:-1]])
    rows = {(str(dates[t]), panel.symbols[j]) for t, j in np.argwhere(begins)}
    assert {row for finding in told for row in finding.rows} == rows
    first, after, told = counted(panel.select(dates=slice(0, cut)), Statements(), limit)
    parts = [first.fields["book"]]
    for t in range(cut, 40):
        one, after, more = counted(panel.select(dates=slice(t, t + 1)), Statements.restored(after.state()), limit)
        parts.append(one.fields["book"])
        told = (*told, *more)
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert {row for finding in told for row in finding.rows} == rows


def test_an_item_that_is_replaced_in_a_panel_is_what_its_rows_say():
    panel = Panel.from_frame(table())
    taken, _ = Door(Intake()).take(panel.with_fields(book_price=np.full(panel.shape, 7.0)))
    book = taken.fields["book_price"]
    assert np.isnan(book[0, 0])  # the row is released nine days later, and nothing is known before it
    assert (book[1:] == 7.0).all()


# -- corrections


@pytest.fixture
def writer(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path))
    settings_of_the_engine.cache_clear()
    actor = FactorModelCreation()
    assert actor._ready.wait(120)
    yield actor
    settings_of_the_engine.cache_clear()


@pytest.mark.parametrize("row", [3, FIRST - 2, FIRST + 2])
@pytest.mark.parametrize("dated", [False, True])
def test_a_corrected_statement_counts_from_its_release_until_the_next(writer, row, dated):
    frame = table()
    name = row % 15
    writer.create_model(
        rq.CreateModel(model_id="m", feature_data=encode(frame.filter(pl.col("date") < str(DAYS[FIRST]))))
    )
    for t in range(FIRST, len(DAYS)):
        writer.append_day(rq.AppendDay(model_id="m", feature_data=encode(day(frame, t))))
    here = (pl.col("date") == str(DAYS[row])) & (pl.col("symbol") == NAMES[name])
    assert frame.filter(here)["book_price"][0] is not None
    changes = {"book_price": 500.0} | ({"available_at": str(DAYS[row + 2])} if dated else {})
    rows = pl.DataFrame({"date": [str(DAYS[row])], "symbol": [NAMES[name]], **{n: [v] for n, v in changes.items()}})
    made = writer.correct_days(rq.CorrectDays(model_id="m", feature_data=encode(rows)))
    assert made.values["n_rows_changed"] == 1
    right = frame.with_columns(
        pl.when(here).then(pl.lit(value)).otherwise(pl.col(column)).alias(column) for column, value in changes.items()
    )
    fresh, stored = FactorModel().fit(right), model_of(writer.store.head("m"))
    assert (stored.panel_.fields["book_price"] == 500.0).any()
    one, other = bits(fresh), bits(stored)
    wrong = [n for n in one if not np.array_equal(one[n], other[n], equal_nan=one[n].dtype.kind == "f")]
    assert wrong == []
