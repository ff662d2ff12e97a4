from contracts.frames import encode
from contracts.operations import OPERATIONS
from contracts.requests import MomentumFactor
from contracts.work import Lane


def momentum_of(n_rows):
    import polars as pl

    table = {"date": ["2024-01-02"] * n_rows, "symbol": [f"S{i}" for i in range(n_rows)], "asset_returns": 0.01}
    return MomentumFactor(returns_data=encode(pl.DataFrame(table)))


def test_a_calculation_on_a_large_posted_table_is_heavy_and_does_not_hold_up_reads_of_models():
    row = OPERATIONS["momentum"]
    assert row.lane_of(MomentumFactor(model_id="m")) is Lane.LIGHT
    assert row.lane_of(momentum_of(10)) is Lane.LIGHT
    assert row.lane_of(momentum_of(10_000)) is Lane.HEAVY
    assert OPERATIONS["risk_model"].lane_of(momentum_of(10)) is Lane.HEAVY
