"""A name whose symbol changed: who asks by the old one is told the new one, whatever he asks."""

import numpy as np
import polars as pl
import pytest
from fixtures_actors import ask, start

from actors.workloads.factor_exposure_analysis import FactorExposureAnalysis
from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.momentum_factor import MomentumFactor
from actors.workloads.portfolio_factor_attribution import PortfolioFactorAttribution
from actors.workloads.risk_model_construction import RiskModelConstruction
from contracts import portfolio_requests as pq
from contracts import requests as rq
from contracts.errors import UnknownSymbol
from contracts.frames import encode
from contracts.settings import settings
from factors import sample_market

N_DAYS, CHANGE = 120, 60


@pytest.fixture(scope="module")
def market():
    """The first name with all its days is OLD until a day; `asset_id` stays."""
    panel = sample_market(n_assets=30, n_days=N_DAYS, seed=5).panel
    new = panel.symbols[int(np.flatnonzero(np.isfinite(panel.fields["returns"][1:]).all(axis=0))[0])]
    before = (pl.col("symbol") == new) & (pl.col("date") < panel.dates[CHANGE])
    frame = panel.to_frame(names={"returns": "asset_returns"})
    return frame.with_columns(
        asset_id=pl.col("symbol"), symbol=pl.when(before).then(pl.lit("OLD")).otherwise("symbol")
    ), new


@pytest.fixture(scope="module", params=["whole", "grown"])
def model(market, tmp_path_factory, request):
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp(request.param)))
    settings.cache_clear()
    writer, (frame, new) = start(FactorModelCreation), market
    cut = sorted(frame["date"].unique())[CHANGE - 1]
    first = frame if request.param == "whole" else frame.filter(pl.col("date") <= cut)
    ask(writer.create_model, rq.CreateModel(model_id="m", feature_data=encode(first)))
    if request.param == "grown":
        rest = frame.filter(pl.col("date") > cut)
        ask(writer.append_day, rq.AppendDay(model_id="m", feature_data=encode(rest)))
    yield new
    patch.undo()
    settings.cache_clear()


ASKED = {
    "exposures": (FactorExposureAnalysis, "factor_exposures", rq.FactorExposures, {"portfolio_weights": ...}),
    "risk": (RiskModelConstruction, "portfolio_risk", rq.PortfolioRisk, {"portfolio_weights": ...}),
    "risk beside a benchmark": (
        RiskModelConstruction, "portfolio_risk", rq.PortfolioRisk,
        {"portfolio_id": "market", "benchmark_weights": ...},
    ),
    "risk history": (
        PortfolioFactorAttribution, "risk_history", pq.RiskHistory, {"portfolio_weights": ...},
    ),
    "attribution": (
        PortfolioFactorAttribution, "portfolio_attribution", rq.PortfolioAttribution, {"portfolio_weights": ...},
    ),
    "a stored book": (RiskModelConstruction, "portfolio_risk", rq.PortfolioRisk, {"portfolio_id": "held"}),
    "factor values": (FactorLibrary, "calculate_factors", rq.CalculateFactors, {"symbol": "OLD"}),
    "momentum": (MomentumFactor, "momentum", rq.MomentumFactor, {"symbols": ["OLD"]}),
}  # fmt: skip


@pytest.mark.parametrize("what", ASKED)
def test_who_asks_by_the_old_symbol_is_told_the_new_one(model, what):
    actor, method, request, fields = ASKED[what]
    if "portfolio_id" in fields:
        held = pq.PutPortfolio(portfolio_id="held", holdings={"always": {"OLD": 1.0}}, request_id=f"held {what}")
        ask(start(PortfolioFactorAttribution).put_portfolio, held)
    fields = {name: {"OLD": 1.0} if value is ... else value for name, value in fields.items()}
    with pytest.raises(UnknownSymbol, match=f"'OLD' is called '{model}' now") as told:
        ask(getattr(start(actor), method), request(model_id="m", **fields))
    assert told.value.rows == ["OLD"]


def test_by_the_new_symbol_the_whole_series_answers(model):
    books = start(PortfolioFactorAttribution)
    request = rq.PortfolioAttribution(model_id="m", portfolio_weights={model: 1.0})
    assert ask(books.portfolio_attribution, request).values
