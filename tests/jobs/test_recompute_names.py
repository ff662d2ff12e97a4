"""A recompute of a history whose names come and go gives what was known on each day, to the bit."""

import numpy as np
import polars as pl
import pytest

from actors.reading.states import state_of
from contracts.settings import settings
from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from jobs import recompute as job
from jobs.parts import read_manifest
from jobs.progress import Progress
from jobs.work import Work
from store import ModelStore

DAYS = 150


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path / "run"))
    settings.cache_clear()
    yield ModelStore(settings().store_path)
    settings.cache_clear()


def parts_of(work, what):
    folder = work.folder(settings().store_path)
    names = [part["file"] for part in read_manifest(folder)["parts"] if part["what"] == what]
    return pl.concat([pl.read_parquet(folder / "parts" / name) for name in names])


def test_days_before_a_name_listed_are_what_they_were_before_anybody_knew_it(store):
    """Names come and go, and the history has all of them on its axis from the first day on."""
    panel = sample_market(n_assets=40, n_days=DAYS).panel
    begins = {name: 100 + i * 7 for i, name in enumerate(panel.symbols[3:33:5])}
    ends = {name: 60 + i * 20 for i, name in enumerate(panel.symbols[:3])}
    number = {day: i for i, day in enumerate(panel.dates.astype(object))}
    rows = panel.to_frame().with_columns(t=pl.col("date").replace_strict(number, return_dtype=pl.Int64))
    rows = rows.filter(
        pl.col("t") >= pl.col("symbol").replace_strict(begins, default=0),
        pl.col("t") < pl.col("symbol").replace_strict(ends, default=DAYS),
    )
    model = FactorModel().fit(rows.filter(pl.col("t") < 100).drop("t"))
    known, then = len(model.symbols_), {}
    for day in range(100, DAYS):
        model.update(rows.filter(pl.col("t") == day).drop("t"))
        then[day] = (dict(zip(model.symbols_, model.specific_variance_, strict=True)), model.factor_covariance_)
    assert (known, len(model.symbols_)) == (34, 40)
    store.commit("grown", state_of(model), base=0, request_id="g", operation="create_model")
    work = Work("grown", what=("covariance", "specific"))
    job.recompute(work, Progress())
    specific, covariance = parts_of(work, "specific"), parts_of(work, "covariance")
    upper = np.triu_indices(len(model.factor_names_))
    for day, (variance, factors) in then.items():
        date = panel.dates[day].astype(object)
        got = specific.filter(pl.col("date") == date)
        wanted = [variance[name] for name in got["symbol"]]
        np.testing.assert_array_equal(got["specific_variance"].fill_null(np.nan).to_numpy(), wanted, err_msg=str(day))
        values = covariance.filter(pl.col("date") == date)["covariance"].fill_null(np.nan).to_numpy()
        np.testing.assert_array_equal(values, factors[upper])
