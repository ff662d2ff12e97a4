"""A day that the library computes before it is stored gives what it gives when it comes, to the bit."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.frames import encode
from contracts.handed_tables import take
from contracts.settings import settings
from contracts.work import work_item
from factors.library.run.members import whole
from factors.panel.panel import Panel
from factors.sample.market import sample_market

COLUMNS = {"returns": "asset_returns"}
N_DAYS, KEPT_BACK = 80, 14


@pytest.fixture(scope="module")
def market():
    return Panel.from_frame(sample_market(n_assets=20, n_days=N_DAYS).panel.to_frame(names=COLUMNS))


@pytest.fixture(scope="module")
def actors(tmp_path_factory):
    """The model's writer, a library that is told of days, and one that is not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        patch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path_factory.mktemp("run")))
        settings.cache_clear()
        made = FactorModelCreation(), FactorLibrary(), FactorLibrary()
        for actor in made:
            assert actor._ready.wait(150)
            assert actor._state == "READY", actor._reason
        yield made
    settings.cache_clear()


class Model:
    """A model of the actors, and its days."""

    def __init__(self, actors, market, model_id, **settings):
        self.writer, self.told, self.untold = actors
        self.model_id = model_id
        history = market.select(dates=market.dates[:-KEPT_BACK]).to_frame(names=COLUMNS)
        self.days = [market.select(dates=market.dates[k:][:1]).to_frame(names=COLUMNS) for k in range(-KEPT_BACK, 0)]
        self.writer.create_model(
            rq.CreateModel(model_id=model_id, feature_data=encode(history), request_id="made", settings=settings)
        )
        for library in (self.told, self.untold):
            library.live.current(model_id, library.formulas, 150)

    def request(self, frame):
        return rq.AppendDay(model_id=self.model_id, feature_data=encode(frame), request_id=str(frame["date"][0]))

    def foresee(self, frame):
        """Tell of a day; gives what will be told of it."""
        (made,) = self.told.foresee([work_item("append_day", self.request(frame))])
        return None if made is None else replace(made, tables=take(made.tables))

    def told_after(self, frame):
        """Have the day appended; gives what the writer says of it, and the library that was told nothing."""
        stored = self.writer.append_day(self.request(frame))
        return stored, self.untold.update_factors(rq.UpdateFactors(model_id=self.model_id, values=True))

    def append(self, frame):
        """Have the day appended; both libraries follow, and give the same."""
        self.writer.append_day(self.request(frame))
        one, other = (
            library.live.current(self.model_id, library.formulas, 150) for library in (self.told, self.untold)
        )
        np.testing.assert_array_equal(one.day.values, other.day.values)
        assert one.day.date == other.day.date == np.datetime64(frame["date"][0])
        found, expected = dict(one.members()), dict(other.members())
        assert found.keys() == expected.keys()
        for name, member in found.items():
            np.testing.assert_array_equal(whole(member), whole(expected[name]), err_msg=name)
        assert other.foreseen == 0
        return one.foreseen


def test_days_that_were_foreseen_give_the_same_values_and_leave_the_same_behind(actors, market):
    model = Model(actors, market, "m")
    for number, day in enumerate(model.days[:3], 1):
        model.foresee(day)
        assert model.append(day) == number
    assert model.append(model.days[3]) == 3  # nobody told of it


def test_what_is_said_of_a_day_beforehand_is_to_the_byte_what_is_told_of_it_when_it_is_stored(actors, market):
    model = Model(actors, market, "said")
    for day in model.days[:3]:
        said = model.foresee(day)
        stored, told = model.told_after(day)
        assert said.day == stored.day != ""
        assert replace(said, day="") == told
        assert said.tables
        assert said.model_version == stored.model_version
        model.told.update_factors(rq.UpdateFactors(model_id="said", wait=False))
    assert model.told.live.known("said").foreseen == 3


def test_what_is_said_of_a_row_that_is_stored_otherwise_is_of_another_day(actors, market):
    model = Model(actors, market, "row")
    said = model.foresee(model.days[0].with_columns(pl.col("close") * 1.01))
    assert said.day != model.told_after(model.days[0])[0].day
    model.told.update_factors(rq.UpdateFactors(model_id="row", wait=False))
    assert model.foresee(model.days[0]) is None, "that day is there"
    said = model.foresee(model.days[1])
    symbol = model.days[1]["symbol"][0]
    change = model.days[0].filter(pl.col("symbol") == symbol).with_columns(pl.col("close") * 1.02)
    change = change.select("date", "symbol", "close")
    model.writer.correct_days(rq.CorrectDays(model_id="row", feature_data=encode(change), request_id="corrected"))
    stored = model.told_after(model.days[1])[0]
    assert said.day != stored.day, "the row is the same, and comes behind another version"
    assert said.model_version != stored.model_version


def test_a_day_that_comes_otherwise_than_it_was_foreseen_is_computed(actors, market):
    model = Model(actors, market, "other")
    changed = model.days[0].with_columns(pl.col("close") * 1.01)
    model.foresee(changed)
    assert model.append(model.days[0]) == 0
    model.foresee(model.days[1].head(15))
    assert model.append(model.days[1]) == 0
    model.foresee(model.days[3])
    assert model.append(model.days[2]) == 0
    model.foresee(model.days[3])
    model.foresee(model.days[3])
    assert model.append(model.days[3]) == 0, "three times in a row it was in vain"


def test_a_name_that_is_new_is_not_foreseen(actors, market):
    model = Model(actors, market, "names")
    day = model.days[0].with_columns(pl.when(pl.col("symbol") == pl.col("symbol").min()).then(pl.lit("NEW"))
                                     .otherwise(pl.col("symbol")).alias("symbol"))  # fmt: skip
    model.foresee(day)
    assert model.append(day) == 0
    model.foresee(model.days[1])
    assert model.append(model.days[1]) == 1


def test_what_cannot_be_foreseen_is_left_to_the_writer(actors, market):
    model = Model(actors, market, "bad")
    day = model.days[0]
    for bad in (
        day.with_columns(pl.lit("x").alias("close")),
        day.drop("symbol"),
        pl.concat([day, day]),
        pl.concat(model.days[:2]),
        day.with_columns(pl.lit("2001-01-01").alias("date")),
    ):
        model.foresee(bad)
    model.told.foresee([work_item("append_day", rq.AppendDay(model_id="none", feature_data=encode(day)))])
    assert model.append(day) == 0
    model.foresee(model.days[1])
    assert model.append(model.days[1]) == 1
