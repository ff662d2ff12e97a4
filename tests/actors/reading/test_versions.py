"""The kept versions of a model, in words."""

import numpy as np
import pytest

from actors.reading.states import state_of
from actors.reading.versions import version_rows
from contracts.errors import UnknownModel
from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from store import ModelStore


@pytest.fixture
def panel():
    return sample_market(n_assets=40, n_days=82).panel


def test_each_version_says_what_it_changed_against_the_one_before(tmp_path, panel):
    store = ModelStore(tmp_path)
    model = FactorModel().fit(panel.select(dates=slice(0, 80)))
    store.commit("m", state_of(model), base=0, request_id="1", operation="create_model")
    longer = model.update(panel.select(dates=slice(80, 82)))
    store.commit("m", state_of(longer, 2), base=1, request_id="2", operation="append_day", append=True)
    fewer = FactorModel().set_panel(longer.panel_).reduce_universe_by_market_cap(20).fit()
    store.commit("m", state_of(fewer), base=2, request_id="3", operation="reduce_universe")
    rows = version_rows(store, "m")
    assert [row["version"] for row in rows] == [3, 2, 1]
    assert [row["newest"] for row in rows] == [True, False, False]
    assert rows[2]["changed"] == ["the oldest version that is kept"]
    assert rows[1]["changed"] == ["2 days added"]
    assert rows[0]["changed"][0] == "history replaced"
    assert any(line.startswith("cleaning.top_n: ") and line.endswith(" to 20") for line in rows[0]["changed"])
    assert rows[0]["last_date"] == str(np.datetime64(panel.dates[-1]))


def test_a_model_that_is_none_has_no_versions(tmp_path):
    with pytest.raises(UnknownModel):
        version_rows(ModelStore(tmp_path), "nobody")
