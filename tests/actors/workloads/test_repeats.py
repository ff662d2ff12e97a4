"""An id repeats a write, and is no way to have another one taken for it; a day that is not yet is refused."""

import datetime as dt

import polars as pl
import pytest

from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from contracts.settings import settings
from factors.sample.market import sample_market

COLUMNS = {"returns": "asset_returns"}


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
    settings.cache_clear()
    actor = FactorModelCreation()
    assert actor._ready.wait(120)
    yield actor
    patch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def days():
    """A model's table, and the rows of the two days after it."""
    frame = sample_market(n_assets=30, n_days=120).panel.to_frame(names=COLUMNS)
    *_, first, second = frame["date"].unique().sort()
    return (
        frame.filter(pl.col("date") < first),
        frame.filter(pl.col("date") == first),
        frame.filter(pl.col("date") == second),
    )


def version(answer):
    return answer.model_version


def test_a_repeated_write_gives_its_version_and_another_under_its_id_is_refused(writer, days):
    before, first, second = days
    create = rq.CreateModel(model_id="m", feature_data=encode(before), request_id="c")
    assert version(writer.create_model(create)) == version(writer.create_model(create)) == 1
    append = rq.AppendDay(model_id="m", feature_data=encode(first), request_id="a")
    assert version(writer.append_day(append)) == 2
    assert version(writer.append_day(append.model_copy(update={"messagebus_priority": "low"}))) == 2
    for other in (
        lambda: writer.append_day(append.model_copy(update={"feature_data": encode(second)})),
        lambda: writer.append_day(append.model_copy(update={"request_id": "c"})),
        lambda: writer.create_model(create.model_copy(update={"request_id": "a"})),
        lambda: writer.delete_model(rq.ModelRef(model_id="m", request_id="a")),
    ):
        with pytest.raises(InvalidInput, match="the id is that of another request") as refused:
            other()
        assert refused.value.field == "request_id"
    assert version(writer.append_day(rq.AppendDay(model_id="m", feature_data=encode(second), request_id="b"))) == 3
    assert version(writer.append_day(append)) == 2, "and it is known behind later ones"


def test_an_id_is_one_of_a_model(writer, days):
    for model_id in ("one", "two"):
        create = rq.CreateModel(model_id=model_id, feature_data=encode(days[0]), request_id="same")
        assert version(writer.create_model(create)) == 1


def moved(frame, last):
    """The rows with their last date at `last`, those before it as far from it as they were."""
    apart = last - frame["date"].max()
    return frame.with_columns(pl.col("date") + pl.duration(days=apart.days))


def test_a_day_that_is_not_yet_is_refused_unless_the_model_is_ahead_itself(writer, days):
    before, first, _ = days
    today = dt.datetime.now(dt.UTC).date()
    writer.create_model(rq.CreateModel(model_id="now", feature_data=encode(moved(before, today - dt.timedelta(3)))))
    ahead = moved(first, today + dt.timedelta(30))
    with pytest.raises(InvalidInput, match="after today by this machine's clock") as refused:
        writer.append_day(rq.AppendDay(model_id="now", feature_data=encode(ahead)))
    assert refused.value.field == "feature_data.date"
    assert refused.value.rows == [str(today + dt.timedelta(30))]
    tomorrow = moved(first, today + dt.timedelta(1))
    assert version(writer.append_day(rq.AppendDay(model_id="now", feature_data=encode(tomorrow)))) == 2

    later = moved(before, today + dt.timedelta(10))
    writer.create_model(rq.CreateModel(model_id="made_up", feature_data=encode(later)))
    assert version(writer.append_day(rq.AppendDay(model_id="made_up", feature_data=encode(ahead)))) == 2
