"""Every operation that takes a table refuses one whose grid would fill the memory, before it is spread."""

import polars as pl
import pytest

from actors.workloads.factor_model_creation import FactorModelCreation
from actors.workloads.factor_returns_estimation import FRAMES, FactorReturnsEstimation
from actors.workloads.momentum_factor import MomentumFactor
from actors.workloads.size_factor import SizeFactor
from actors.workloads.style_factor_calculation import StyleFactorCalculation
from actors.workloads.value_factor import ValueFactor
from contracts import requests as rq
from contracts.errors import DeadlineExceeded, EngineError, InvalidInput, TableTooLarge, UnknownModel
from contracts.frames import encode
from contracts.settings import settings
from contracts.work import work_item
from factors.sample.market import sample_market

N = 12_000


@pytest.fixture(scope="module", autouse=True)
def store_dir(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        settings.cache_clear()
        yield
    settings.cache_clear()


def sparse(**columns):
    days = pl.date_range(pl.date(1990, 1, 1), pl.date(1990, 1, 1) + pl.duration(days=N - 1), "1d", eager=True)
    frame = pl.DataFrame({"date": days, "symbol": [f"S{i:05d}" for i in range(N)]})
    return encode(frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()}))


RATIOS = {"book_price": 0.5, "sales_price": 0.5, "cf_price": 0.5}
FOUR = {
    "returns_df": {"asset_returns": 0.01},
    "market_cap_df": {"market_cap": 1e9},
    "sector_df": {"tech": 1.0},
    "style_df": {"size": 0.1},
}


def started(kind):
    actor = kind()
    assert actor._ready.wait(120)
    return actor


def asked(method, request):
    answer = method([request])[0] if getattr(method, "batched", False) else method(request)
    if isinstance(answer, EngineError):
        raise answer
    return answer


@pytest.mark.parametrize(
    ("kind", "operation", "request_of"),
    [
        (MomentumFactor, "momentum", lambda: rq.MomentumFactor(returns_data=sparse(asset_returns=0.01))),
        (ValueFactor, "value", lambda: rq.ValueFactor(fundamental_data=sparse(**RATIOS))),
        (SizeFactor, "size", lambda: rq.SizeFactor(market_cap_data=sparse(market_cap=1e9))),
        (StyleFactorCalculation, "style_factors", lambda: rq.StyleFactors(returns_data=sparse(asset_returns=0.01))),
        (
            FactorReturnsEstimation,
            "factor_returns",
            lambda: rq.FactorReturns(**{name: sparse(**columns) for name, columns in FOUR.items()}),
        ),
    ],
)
def test_a_calculation_on_a_sparse_table_is_refused(kind, operation, request_of):
    with pytest.raises(TableTooLarge, match="12,000 dates x 12,000 names"):
        asked(getattr(started(kind), operation), request_of())


@pytest.mark.parametrize("name", FRAMES)
def test_repeated_rows_of_posted_frames_are_named_and_not_multiplied(name):
    """Joined, a thousand equal rows in each of four tables would be a million million."""
    tables = {}
    for frame, columns in FOUR.items():
        made = pl.DataFrame({"date": ["2024-01-02"] * 1000, "symbol": [f"S{i:04d}" for i in range(1000)]})
        if frame == name:
            made = made.with_columns(symbol=pl.lit("S0000"))
        tables[frame] = encode(made.with_columns(**{column: pl.lit(value) for column, value in columns.items()}))
    with pytest.raises(InvalidInput, match="the same date and symbol occur more than once") as refused:
        asked(started(FactorReturnsEstimation).factor_returns, rq.FactorReturns(**tables))
    assert refused.value.field == f"{name}.symbol"
    assert refused.value.rows[0] == ["2024-01-02", "S0000"]


def test_a_day_of_many_new_names_does_not_widen_a_long_history_beyond_the_limit(monkeypatch):
    writer = started(FactorModelCreation)
    panel = sample_market(n_assets=30, n_days=120).panel
    table = encode(panel.to_frame())
    asked(writer.create_model, rq.CreateModel(model_id="m", feature_data=table))
    day = panel.last(1).to_frame().with_columns(date=pl.lit(panel.dates[-1].astype(object)) + pl.duration(days=1))
    many = pl.concat([day.with_columns(symbol=pl.col("symbol") + f"-{i}") for i in range(60)])
    monkeypatch.setenv("FACTOR_ENGINE_MODEL_GRID_LIMIT_MB", "40")
    settings.cache_clear()
    with pytest.raises(TableTooLarge, match="121 dates x 1,830 names"):
        asked(writer.append_day, rq.AppendDay(model_id="m", feature_data=encode(many)))
    # The model is as it was, and goes on.
    assert asked(writer.append_day, rq.AppendDay(model_id="m", feature_data=encode(day))).model_version == 2


def test_a_fit_ends_at_its_deadline_makes_no_version_and_the_next_write_goes_on():
    writer = started(FactorModelCreation)
    panel = sample_market(n_assets=40, n_days=200).panel
    create = rq.CreateModel(model_id="late", feature_data=encode(panel.to_frame()))
    (late,) = writer._compute("create_model", [work_item("create_model", create, timeout_s=-1.0)])
    assert isinstance(late, DeadlineExceeded)
    assert "during the computation" in late.detail
    with pytest.raises(UnknownModel):
        writer.store.head("late")
    (made,) = writer._compute("create_model", [work_item("create_model", create, timeout_s=60.0)])
    assert made.model_version == 1


def test_memory_that_is_not_there_is_an_error_of_the_request(monkeypatch):
    actor = started(SizeFactor)

    def full(_request):
        raise MemoryError

    monkeypatch.setattr(actor, "size", full)
    (answer,) = actor._compute("size", [work_item("size", rq.SizeFactor(market_cap_data=sparse(market_cap=1.0)))])
    assert isinstance(answer, TableTooLarge)
