"""A table of few rows may name so many dates and symbols that the grid of both fills the memory."""

import resource

import polars as pl
import pytest

from actors.reading.features import features_panel
from actors.reading.posted import panel_of
from contracts.errors import TableTooLarge
from contracts.frames import encode
from contracts.grid import MODEL_LAYERS, grid_mb
from contracts.requests import CreateModel
from factors.panel.intake import DEFAULT

N = 12_000


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@pytest.fixture(scope="module")
def sparse():
    """12,000 dates and 12,000 names, one row each."""
    days = pl.date_range(pl.date(1990, 1, 1), pl.date(1990, 1, 1) + pl.duration(days=N - 1), "1d", eager=True)
    frame = pl.DataFrame({"date": days.cast(pl.String), "symbol": [f"S{i:05d}" for i in range(N)]})
    return encode(frame.with_columns(asset_returns=pl.lit(0.01), market_cap=pl.lit(1e9)))


def test_features_of_a_model_are_refused_with_the_numbers_and_without_the_memory(sparse):
    before = peak_mb()
    with pytest.raises(TableTooLarge, match="feature_data spans 12,000 dates x 12,000 names x 2 fields") as refused:
        features_panel(CreateModel(model_id="m", feature_data=sparse), DEFAULT)
    assert refused.value.field == "feature_data"
    assert f"about {grid_mb(N, N, 2 + MODEL_LAYERS):,.0f} MB, over the limit of 8,000 MB" in refused.value.detail
    assert peak_mb() - before < 100


def test_a_posted_table_is_refused_likewise(sparse):
    before = peak_mb()
    with pytest.raises(TableTooLarge, match=r"returns_data spans .* \(FACTOR_ENGINE_POSTED_GRID_LIMIT_MB\)"):
        panel_of(sparse, "returns_data", ("returns",))
    assert peak_mb() - before < 100


def test_times_of_a_day_are_one_date():
    stamps = [f"2024-01-{day:02d}T{hour:02d}:00:00" for day in range(1, 29) for hour in range(24)]
    frame = pl.DataFrame({"date": stamps, "symbol": [f"S{i % 24}" for i in range(len(stamps))]})
    panel = panel_of(encode(frame.with_columns(asset_returns=pl.lit(0.01))), "returns_data", ("returns",))
    assert panel.shape == (28, 24)
