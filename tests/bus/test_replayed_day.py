"""A day of real prices played at a thousand times its speed: what subscribers are told last is what batch gives."""

import asyncio
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from fixtures_live import actors_over
from fixtures_nats import bridge_over, peer_of, until

from contracts import requests as rq
from contracts.frames import encode
from contracts.operations import Workload
from factors.panel.panel import Panel
from jobs.replay import play, recorded_day

REAL = Path(__file__).parents[3] / "shared" / "data" / "sp500_2014_2018.parquet"
DAYS, SPEED, LOOKS = 320, 1000.0, 6
SESSION_S = 6.5 * 3600
FACTORS = ["barra_rstr", "barra_dastd", "alpha101_001", "alpha101_012", "alpha101_101"]
WATCH = {
    "watch_id": "w", "model_id": "main", "factors": FACTORS, "formulas": {"gap": "open / delay(close, 1) - 1"},
    "styles": ["*"], "factor_returns": True, "portfolios": ["equal"], "rate_ms": 50,
}  # fmt: skip

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the price file is not beside the project: ../shared/data")


@pytest.fixture(scope="module")
def market():
    frame = pl.read_parquet(REAL)
    dates = frame.get_column("date").unique().sort().tail(DAYS)
    return Panel.from_frame(frame.filter(pl.col("date").is_in(dates.implode())))


@pytest.fixture
def client(market, own_store):
    return actors_over(market, keep=1)


def recorded(day, path):
    """Write the day as looks at each name so far: its range and volume grow, and its last row is the file's."""
    rng = np.random.default_rng(3)
    fields = {name: values[0] for name, values in day.fields.items()}
    opens = np.datetime64(f"{day.dates[0]}T14:30", "us")
    rows = []
    for i, symbol in enumerate(day.symbols):
        last = {name: float(values[i]) for name, values in fields.items() if np.isfinite(values[i])}
        if "close" not in last:
            continue
        at = np.sort(rng.uniform(0, SESSION_S, LOOKS))
        for look, passed in enumerate(at, 1):
            row = dict(last)
            if look < LOOKS:
                near = rng.uniform(last["low"], last["high"], 2)
                row |= {"high": max(*near, last["open"]), "low": min(*near, last["open"]), "close": float(near[0])}
                row |= {"volume": last["volume"] * look // (2 * LOOKS), "returns": float(rng.normal(0, 0.01))}
            rows.append({"symbol": symbol, "time": (opens + np.timedelta64(int(passed * 1e6), "us")).item(), **row})
    pl.DataFrame(rows).write_parquet(path)
    return len(rows), f"{max(row['time'] for row in rows).isoformat(timespec='microseconds')}Z"


def test_a_real_day_at_a_thousand_times_its_speed_equals_batch(own_server, client, market, tmp_path):
    day = market.select(dates=market.dates[-1:])
    n_ticks, newest = recorded(day, tmp_path / "day.parquet")

    async def run():
        async with bridge_over(own_server, client), peer_of(own_server) as nc:
            told = []

            async def take(msg):
                told.append(orjson.loads(msg.data))

            await nc.subscribe("factor.live.w", cb=take)
            reply = await nc.request("ml.factor_features.put_watch", orjson.dumps(WATCH), timeout=60)
            assert orjson.loads(reply.data)["success"], reply.data

            async def ready():
                reply = await nc.request("ml.factor_features.get_watch", b'{"watch_id":"w"}', timeout=60)
                return orjson.loads(reply.data)["state"] == "waiting"

            await until(ready, "the watch is at work", 120.0)
            sent = await play(nc, recorded_day(tmp_path / "day.parquet", "main"), SPEED)
            assert sent == n_ticks
            await until(lambda: told and told[-1]["market_time"] == newest, "the last tick is in the values")
            status = await nc.request("ml.factor_features.live_status", b'{"model_id":"main"}', timeout=60)
            return told, orjson.loads(status.data)

    told, status = asyncio.run(run())
    last = told[-1]
    assert status["rejected"] == {}
    assert len(told) > 2
    assert last["replay"] is True
    # The same rows in batch: the model with one day more, and the library over its whole history.
    writer, library = (client.actors[w] for w in (Workload.FACTOR_MODEL_CREATION, Workload.FACTOR_LIBRARY))
    writer.append_day(rq.AppendDay(model_id="main", feature_data=encode(day.to_frame())))
    version = writer.store.head("main")
    row = slice(version.manifest.n_dates - 1, version.manifest.n_dates)
    assert [*last["factor_returns"].values()] == np.asarray(version.day("factor_returns", row))[0].tolist()
    assert [*last["symbols"]] == [*version.symbols]
    for name, values in zip(version.manifest.meta["style_names"], version.day_asset("scores", row)[0], strict=True):
        np.testing.assert_array_equal(numbers(last["values"][name]), values, err_msg=name)
    residuals = np.asarray(version.day_asset("residuals", row))[0]
    np.testing.assert_array_equal(numbers(last["values"]["specific_return"]), residuals)
    asked = rq.FactorCrossSection(model_id="main", factors=FACTORS)
    batch = library.factor_cross_section(asked)
    for name in FACTORS:
        np.testing.assert_array_equal(numbers(last["values"][name]), numbers(batch.values[name]["raw"]), err_msg=name)
    gap = library.evaluate_formula(rq.EvaluateFormula(model_id="main", formula=WATCH["formulas"]["gap"])).values
    mine = {s: v for s, v in zip(last["symbols"], last["values"]["gap"], strict=True) if v is not None}
    assert mine == gap
    book = last["portfolios"]["equal"]
    parts = sum(book["return_by_factor"].values()) + book["specific_return"] + book["unexplained_return"]
    np.testing.assert_allclose(book["return"], parts, atol=1e-12)


def numbers(values):
    return np.array([np.nan if v is None else v for v in values])
