"""What stands in for a name in several sectors, from the stored model."""

import numpy as np
import polars as pl
import pytest
from fixtures_actors import ask, start

from actors.reading.slices import Slices, caps_name
from actors.workloads.factor_exposure_analysis import FactorExposureAnalysis
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.frames import encode


@pytest.mark.parametrize("several", [True, False], ids=["several sectors", "one sector"])
def test_a_proxy_of_a_name_that_left_has_the_shares_in_sectors_that_it_last_had(store_dir, market, steady, several):
    frame = market[1].drop("issuer").filter(pl.col("sector").is_not_null())
    last, names, symbol = frame["date"].max(), sorted(frame["sector"].unique()), steady[0]
    shares = {names[0]: 0.25, names[1]: 0.75} if several else {names[1]: 1.0}
    own = pl.col("symbol") == symbol
    columns = [
        pl.when(own).then(shares.get(n, 0.0)).otherwise((pl.col("sector") == n).cast(pl.Float64)).alias(n)
        for n in names
    ]
    wide = frame.with_columns(columns).drop("sector").filter(~(own & (pl.col("date") == last)))
    model_id = f"mixed-{several}"
    create = rq.CreateModel(model_id=model_id, feature_data=encode(wide), sector_encodings=names)
    ask(start(FactorModelCreation).create_model, create)
    asked = rq.FactorExposures(model_id=model_id, portfolio_weights={symbol: 1.0}, uncovered="proxy")
    found = ask(start(FactorExposureAnalysis).factor_exposures, asked).values
    assert {name: found[name] for name in names} == {name: shares.get(name, 0.0) for name in names}
    # Its styles are means of its sectors by the caps that the model uses (smoothed ones); no other name is in several.
    found_in = Slices().at(model_id)
    version, day = found_in.version, slice(found_in.row, found_in.row + 1)
    caps, codes = (np.asarray(version.day_asset(name, day)[0]) for name in (caps_name(version), "category/sector"))
    scores = np.nan_to_num(np.asarray(version.day_asset("scores", day)[0]))
    for place, style in enumerate(found_in.factor_names[1 + len(names) :]):
        mean = 0.0
        for name, share in shares.items():
            peers = (caps > 0.0) & (codes == names.index(name))
            assert peers.any()
            mean += share * (caps[peers] @ scores[place, peers]) / caps[peers].sum()
        assert found[style] == pytest.approx(mean, rel=1e-12, abs=1e-14)
