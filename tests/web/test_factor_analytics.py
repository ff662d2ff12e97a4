"""A factor judged over HTTP and NATS: a style, a library factor, a formula and posted scores give one tear sheet."""

import asyncio

import polars as pl
import pytest
from fixtures_nats import bridge_over

from clients.nats import NatsEngine
from clients.surface import How
from contracts.portfolio_requests import FactorAnalytics

ASKED = {"horizons": [1, 5], "trials": 20}


def over_http(http, **given):
    answer = http.post("/factor-analytics/calculate", json={**ASKED, **given})
    assert answer.status_code == 200, answer.text
    return answer.json()["calculation_result"]["factor_values"]


@pytest.mark.parametrize(
    "given",
    [{"style": "momentum"}, {"factor": "alpha101_101"}, {"formula": "rank(delta(close, 5))"}, {"scores": None}],
    ids=lambda given: next(iter(given)),
)
def test_what_is_judged_over_nats_is_what_is_judged_over_http(http, sample, nats_server, engine_here, given):
    dates = [str(day) for day in sample["date"].unique().sort()[-60:]]
    if "scores" in given:
        rows = sample.with_columns(pl.col("date").cast(pl.String)).drop_nulls("volume")
        posted = {d: rows.filter(pl.col("date") == d).select("symbol", "volume").iter_rows() for d in dates}
        given = {"scores": {date: dict(scores) for date, scores in posted.items()}}
    asked = {**ASKED, **given, "start_date": dates[0], "end_date": dates[-1]}
    found = over_http(http, **{key: value for key, value in asked.items() if key not in ASKED})
    assert found["settings"]["trials"] == 20
    for row in found["horizons"]:
        assert (row["purged_dates"], row["overlap_lags"]) == (row["days"], row["days"] - 1)
        assert row["ic"]["n_dates"] <= 60 - row["days"]
        assert row["ic"]["p_value_after_trials"] >= row["ic"]["p_value"]
        assert {"mean", "t_statistic", "deflated_sharpe"} <= row["spread"].keys()
        assert len(row["quantile_returns"]) == 5
    assert [row["days_ahead"] for row in found["decay"]][:3] == [1, 2, 3]
    assert {"top", "bottom", "rank_autocorrelation"} <= found["turnover"][0].keys()
    styles = {row["factor"] for row in found["correlations"]}
    assert {"size", "beta"} <= styles
    assert given.get("style") not in styles

    async def over_nats():
        async with bridge_over(nats_server, engine_here), NatsEngine.of_run(nats_server.run_dir) as engine:
            request = FactorAnalytics.model_validate({"model_id": "m", **asked})
            return await engine.factor_analytics(request, How(timeout_s=120.0))

    answer = asyncio.run(over_nats()).model_dump(mode="json")
    assert answer["calculation_result"]["factor_values"] == found


def test_the_page_of_a_tear_sheet_needs_no_network_and_has_its_figures(http):
    found = over_http(http, style="size", html=True)
    assert found["html"].startswith("<!doctype html>")
    assert "http" not in found["html"]
    assert "Rank correlation with other factors" in found["html"]
    assert f"{found['horizons'][0]['ic']['mean']:.4f}" in found["html"]
