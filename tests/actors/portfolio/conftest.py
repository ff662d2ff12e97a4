"""A stored model with a late listing, a name without a cap on the last date, and two names of one issuer."""

import numpy as np
import pytest
from fixtures_actors import ask, start

from actors.workloads.factor_exposure_analysis import FactorExposureAnalysis
from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.portfolio_factor_attribution import PortfolioFactorAttribution
from actors.workloads.risk_model_construction import RiskModelConstruction
from contracts import requests as rq
from contracts.frames import encode
from contracts.settings import settings
from factors import FactorModel, Panel, sample_market
from factors.panel.panel import Categories

N_DAYS, LATE = 220, 60


@pytest.fixture(scope="module")
def market():
    panel = sample_market(n_assets=40, n_days=N_DAYS, seed=11).panel
    fields = {name: values.copy() for name, values in panel.fields.items()}
    alive = np.flatnonzero(
        np.isfinite(fields["market_cap"]).all(axis=0) & np.isfinite(fields["returns"][1:]).all(axis=0)
    )
    late, gone, first, second = alive[:4]
    for values in fields.values():
        values[:LATE, late] = np.nan
    categories = {name: Categories(c.codes.copy(), c.names) for name, c in panel.categories.items()}
    for category in categories.values():
        category.codes[:LATE, late] = -1
    fields["market_cap"][-1, gone] = np.nan
    fields["returns"][1:, second] = fields["returns"][1:, first] + 0.001 * np.random.default_rng(0).standard_normal(
        N_DAYS - 1
    )
    issuers = Categories(np.tile(np.arange(40, dtype=np.int16), (N_DAYS, 1)), tuple(f"I{i}" for i in range(40)))
    issuers.codes[:, second] = first
    whole = Panel(panel.dates, panel.symbols, fields, {**categories, "issuer": issuers})
    frame = whole.to_frame(names={"returns": "asset_returns"})
    return Panel.from_frame(frame), frame, [panel.symbols[i] for i in (late, gone, first, second)]


@pytest.fixture(scope="module")
def fitted(market):
    return FactorModel().fit(market[0])


@pytest.fixture(scope="module")
def names(market):
    """Symbols: listed late, without a cap on the last date, and the two of one issuer."""
    return market[2]


@pytest.fixture(scope="module")
def steady(fitted, names):
    """Names that are covered on every date."""
    whole = fitted.coverage_universe_.all(axis=0) & np.isfinite(fitted.panel_.fields["returns"][1:]).all(axis=0)
    return [s for s, ok in zip(fitted.symbols_, whole, strict=True) if ok and s not in names][:8]


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(path))
    settings.cache_clear()
    yield path
    patch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def stored(store_dir, market):
    writer = start(FactorModelCreation)
    ask(writer.create_model, rq.CreateModel(model_id="m", feature_data=encode(market[1]), request_id="c1"))
    return "m"


@pytest.fixture(scope="module")
def risks(stored):
    return start(RiskModelConstruction)


@pytest.fixture(scope="module")
def books(stored):
    return start(PortfolioFactorAttribution)


@pytest.fixture(scope="module")
def exposures(stored):
    return start(FactorExposureAnalysis)
