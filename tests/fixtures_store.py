"""A store of the test's own, and the market that tests of live factors play in. The whole suite loads this module."""

import pytest


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """Folder that the settings name as the store while the test runs."""
    from contracts.settings import settings

    folder = tmp_path / "store"
    monkeypatch.setenv("FACTOR_ENGINE_STORE_DIR", str(folder))
    settings.cache_clear()
    yield folder
    settings.cache_clear()


@pytest.fixture(scope="session")
def live_market():
    """30 names over 80 days; nobody may change it."""
    from fixtures_live import COLUMNS

    from factors.panel.panel import Panel
    from factors.sample.market import sample_market

    return Panel.from_frame(sample_market(n_assets=30, n_days=80).panel.to_frame(names=COLUMNS))
