import itertools
import json

import pytest

from bus.reader import HERE_BYTES
from contracts import frames
from contracts.examples import JOB, with_names
from contracts.operations import OPERATIONS

CALCULATION = {
    "calculation_id", "factor_type", "calculation_time_ms", "hardware_used", "confidence_score", "model_version",
    "messagebus_published",
}  # fmt: skip


def rows(sample, *columns, n_days=None):
    """The sample's columns as a JSON table; missing values are null."""
    dates = sample["date"].unique().sort()
    frame = sample if n_days is None else sample.filter(sample["date"] >= dates[-n_days])
    frame = frame.select("date", "symbol", *columns)
    return {"columns": frame.columns, "data": [[str(r[0]), *r[1:]] for r in frame.rows()]}


@pytest.fixture(scope="module")
def bodies(sample, symbols):
    """A body that each POST operation answers to; the ones that make a model name one of their own."""
    weights = dict.fromkeys(symbols, 0.25)
    last = str(sample["date"].max())
    day = sample.filter(sample["date"] == sample["date"].max())
    import polars as pl

    def following():
        """Give a day after the last one to each route that appends one."""
        for number in itertools.count(1):
            later = day.with_columns(pl.col("date").dt.offset_by(f"{number}d").cast(pl.String))
            yield {name: later[name].to_list() for name in later.columns}

    corrected = {
        name: day.with_columns(pl.col("date").cast(pl.String), pl.col("market_cap") * 1.01)[name].to_list()
        for name in day.columns
    }
    examples = {name: with_names(row.example, symbols) for name, row in OPERATIONS.items()}
    small = rows(sample, "asset_returns", "market_cap", "sector", n_days=130)
    return examples | {
        "create_model": {"model_id": "made", "feature_data": small},
        "clean_features": {"model_id": "copy", "to_winsorize": {"book_price": 0.02}},
        "reduce_universe": {"model_id": "copy", "top_n": 30},
        "days": following(),
        "correct_days": {"feature_data": corrected},
        "estimate_style_scores": {"model_id": "copy", "trailing_days": 100},
        "estimate_factor_returns": {"model_id": "copy", "winsor_factor": 0.05},
        "style_factors": {"model_id": "m", "symbols": symbols},
        "factor_returns": {"model_id": "m", "start_date": last},
        "factor_exposures": {"portfolio_weights": weights},
        "factor_features": {"symbols": symbols},
        "factor_signals": {},
        "covariance": {},
        "momentum": {"model_id": "m", "symbols": symbols},
        "value": {"model_id": "m", "symbols": symbols},
        "size": {"model_id": "m", "symbols": symbols},
        "risk_model": {"universe_symbols": symbols},
        "portfolio_risk": {"portfolio_weights": weights},
        "portfolio_attribution": {"portfolio_weights": weights},
        "calculate_factors": {"factors": None},
        "factor_cross_section": {"factors": ["alpha101_101", "alpha101_012"], "symbols": symbols},
        "update_factors": {},
        "evaluate_formula": {"formula": "ts_mean(returns, 5)", "symbols": symbols},
        "recompute": {"model_id": "copy", "what": ["returns"]},
        "restore_version": {},
    }


@pytest.fixture(scope="module")
def copy(http, sample):
    """A second model, for the operations that change one."""
    body = frames.encode(sample)
    assert http.put("/factor-model/copy/data", content=body, headers={"content-type": frames.ARROW_STREAM}).is_success


POSTS = [(op.name, route.path) for op in OPERATIONS.values() for route in op.routes if route.method == "POST"]


@pytest.mark.parametrize(("name", "path"), POSTS)
def test_every_post_route_answers_in_its_shape(http, copy, bodies, symbols, name, path):
    asked = {"feature_data": next(bodies["days"])} if name == "append_day" else bodies[name]
    if name == "append_portfolio":
        assert http.put("/portfolios/example-book", json=bodies["put_portfolio"]).is_success
    if name == "predict":
        stored = bodies["put_estimator"]
        assert http.put(f"/estimators/{stored['estimator_id']}", json=stored).is_success
    named = {**asked, "model_id": "copy", "symbol": symbols[0]}
    answer = http.post(path.format_map(named), json=asked)
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["success"] is True
    if "calculation_result" not in OPERATIONS[name].result.model_fields:
        OPERATIONS[name].result.model_validate(body)
        assert name == "calibrate_devices", "the others are calculations"
        return
    assert set(body["calculation_result"]) >= CALCULATION
    assert body["calculation_result"]["hardware_used"] == "cpu"
    assert 0.0 <= body["calculation_result"]["confidence_score"] <= 1.0
    OPERATIONS[name].result.model_validate(body)


GETS = [(op.name, route.path) for op in OPERATIONS.values() for route in op.routes if route.method == "GET"]


@pytest.mark.parametrize(("name", "path"), GETS)
def test_every_get_route_answers_in_its_shape(http, symbols, name, path):
    if name == "factor_results":
        assert http.post(f"/factors/calculate/{symbols[0]}", json={}).is_success
    category = http.get("/factors/definitions").json()["definitions"][0]["category"] if "{category}" in path else ""
    if name == "get_portfolio":
        book = OPERATIONS["put_portfolio"].example
        assert http.put("/portfolios/example-book", json=with_names(book, symbols)).is_success
    watch = OPERATIONS["put_watch"].example["watch_id"]
    if name == "get_watch":
        assert http.put(f"/watches/{watch}", json=with_names(OPERATIONS["put_watch"].example, symbols)).is_success
    named = {
        "model_id": "m", "symbol": symbols[0], "category": category, "portfolio_id": "example-book", "watch_id": watch,
        "job_id": JOB, "factor": "alpha101_101",
    }  # fmt: skip
    answer = http.get(path.format_map(named))
    assert answer.status_code == 200, answer.text
    OPERATIONS[name].result.model_validate(answer.json())


FORMS = ("winsorised", "zscore", "neutralised", "rank")


def test_the_library_routes_give_every_form_of_any_date(http, sample, symbols):
    """Calculate, results, categories and the cross-section agree, name by name and form by form."""
    date, symbol, factors = str(sample["date"].unique().sort()[-20]), symbols[0], ["alpha101_101", "alpha158_kup"]
    asked = {"factors": factors, "date_requested": date, "neutralise_by": "sector", "winsor_deviations": 2.0}
    across = http.post("/factors/cross-section", json=asked).json()["calculation_result"]
    one = http.post(f"/factors/calculate/{symbol}", json=asked).json()["calculation_result"]
    kept = http.get(f"/factors/results/{symbol}", params=asked).json()["calculation_result"]
    query = {"symbol": symbol, **asked}
    category = http.get("/factors/categories/alpha101", params=query).json()["calculation_result"]
    column = across["symbols"].index(symbol)
    for found in (one, kept, category):
        assert (found["date"], found["neutralised_by"], found["winsor_deviations"]) == (date, "sector", 2.0)
        name = "alpha101_101"
        assert found["factor_values"][name] == across["factor_values"][name]["raw"][column]
        assert found["winsor_limits"][name] == across["winsor_limits"][name]
        for form in FORMS:
            assert found[form][name] == across["factor_values"][name][form][column]
    low, high = across["winsor_limits"]["alpha158_kup"]
    forms = across["factor_values"]["alpha158_kup"]
    assert sum(raw is not None for raw in forms["raw"]) > 10
    for raw, clipped, rank in zip(forms["raw"], forms["winsorised"], forms["rank"], strict=True):
        assert (raw is None) == (clipped is None) == (rank is None)
        assert raw is None or clipped == min(max(raw, low), high)
    neutral = http.post("/factors/correlations", json={**asked, "form": "neutralised", "window_days": 5})
    assert neutral.json()["calculation_result"]["end_date"] == date
    assert http.post("/factors/cross-section", json={"factors": ["nope"]}).json()["code"] == "unknown_factor"
    alias = http.post(f"/factors/calculate/{symbol}", json={"factors": ["alpha158_kmid"]}).json()["calculation_result"]
    assert alias["aliases"] == {"alpha158_kmid": "alpha101_033"}
    assert list(alias["factor_values"]) == ["alpha101_033"]


def test_the_three_json_forms_of_a_frame_give_the_same_answer(http, sample):
    table = rows(sample, "market_cap", n_days=5)
    by_column = {name: [row[i] for row in table["data"]] for i, name in enumerate(table["columns"])}
    objects = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    answers = [
        http.post("/individual-factors/size", json={"market_cap_data": form}).json()["calculation_result"][
            "factor_values"
        ]
        for form in (table, by_column, objects)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]


def test_arrow_and_parquet_bodies_make_the_same_model_as_json(http, sample):
    import io

    part = sample.select("date", "symbol", "asset_returns", "market_cap", "sector").filter(
        sample["date"] >= sample["date"].unique().sort()[-130]
    )
    sink = io.BytesIO()
    part.write_parquet(sink)
    arrow = http.put(
        "/factor-model/arrow/data", content=frames.encode(part), headers={"content-type": frames.ARROW_STREAM}
    )
    parquet = http.put("/factor-model/parquet/data", content=sink.getvalue(), headers={"content-type": frames.PARQUET})
    posted = http.post("/factor-model/create", json={"model_id": "json", "feature_data": rows(part, *part.columns[2:])})
    assert [a.status_code for a in (arrow, parquet, posted)] == [200, 200, 200]
    weights = {"portfolio_weights": {part["symbol"][-1]: 1.0}}
    exposures = [
        http.post("/factor-exposures/calculate", json={**weights, "model_id": name}).json()["calculation_result"]
        for name in ("arrow", "parquet", "json")
    ]
    assert exposures[0]["factor_exposures"] == exposures[1]["factor_exposures"] == exposures[2]["factor_exposures"]


def test_a_csv_body_makes_the_same_model_and_its_dates_are_read_as_the_settings_say(http, sample, monkeypatch):
    part = sample.select("date", "symbol", "asset_returns", "market_cap", "sector").filter(
        sample["date"] >= sample["date"].unique().sort()[-130]
    )
    last = part["date"].max()
    slashes = part.with_columns(part["date"].dt.strftime("%m/%d/%Y"))
    csv = {"headers": {"content-type": "text/csv"}}
    days = slashes.filter(part["date"] < last).write_csv().encode()
    refused = http.put("/factor-model/slashes/data", content=days, **csv)
    assert (refused.status_code, refused.json()["field"]) == (422, "feature_data.date")
    assert "date_format" in refused.text
    query = {"settings": json.dumps({"intake": {"date_format": "%m/%d/%Y"}})}
    made = http.put("/factor-model/slashes/data", content=days, params=query, **csv)
    assert made.status_code == 200, made.text
    # The days that follow are read as the first ones were.
    day = slashes.filter(part["date"] == last)
    posted = http.post("/factor-model/slashes/append", json={"feature_data": rows(day, *day.columns[2:])})
    assert posted.status_code == 200, posted.text
    monkeypatch.setattr("bus.reader.INLINE_BYTES", 0)
    assert http.put("/factor-model/plain/data", content=part.write_csv().encode(), **csv).is_success
    weights = {"portfolio_weights": {part["symbol"][-1]: 1.0}}
    exposures = [
        http.post("/factor-exposures/calculate", json={**weights, "model_id": name}).json()["calculation_result"]
        for name in ("slashes", "plain")
    ]
    assert exposures[0]["factor_exposures"] == exposures[1]["factor_exposures"]


def test_a_bulk_table_over_the_inline_size_is_read_from_its_file_and_the_file_is_gone(
    http, sample, run_settings, monkeypatch
):
    monkeypatch.setattr("bus.reader.INLINE_BYTES", 0)
    answer = http.put(
        "/factor-model/large/data", content=frames.encode(sample), headers={"content-type": frames.ARROW_STREAM}
    )
    assert answer.status_code == 200, answer.text
    assert list((run_settings.run_dir / "uploads").iterdir()) == []


def test_a_large_table_in_json_is_read_from_a_file_and_the_file_is_gone(http, sample, run_settings, monkeypatch):
    posted = {"returns_data": rows(sample, "asset_returns")}
    assert len(json.dumps(posted)) > HERE_BYTES
    inline = http.post("/individual-factors/momentum", json=posted).json()["calculation_result"]
    read = []
    monkeypatch.setattr("bus.reader.INLINE_BYTES", 0)
    monkeypatch.setattr("actors.reading.posted.decode", lambda payload: read.append(payload) or frames.decode(payload))
    filed = http.post("/individual-factors/momentum", json=posted).json()["calculation_result"]
    assert filed["factor_values"] == inline["factor_values"]
    assert [payload.startswith(frames.FILE_MARK) for payload in read] == [True]
    assert list((run_settings.run_dir / "uploads").iterdir()) == []


def test_top_n_may_come_in_the_query(http, copy):
    answer = http.post("/factor-model/reduce-universe?top_n=25", json={"model_id": "copy"})
    assert answer.status_code == 200, answer.text
    assert "25" in str(http.get("/factor-models/copy/status").json()["recipe"])


def test_a_write_repeated_under_its_idempotency_key_makes_no_second_version(http, copy):
    ask = {"json": {"model_id": "copy", "top_n": 20}, "headers": {"idempotency-key": "once-and-only-once"}}
    first = http.post("/factor-model/reduce-universe", **ask).json()
    second = http.post("/factor-model/reduce-universe", **ask).json()
    assert first["model_version"] == second["model_version"]


def test_a_deleted_model_is_unknown(http, sample):
    body = frames.encode(sample)
    assert http.put("/factor-model/gone/data", content=body, headers={"content-type": frames.ARROW_STREAM}).is_success
    assert http.delete("/factor-model/gone").status_code == 200
    answer = http.get("/factor-models/gone/status")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")


def test_a_large_body_without_a_content_length_is_read_outside_of_the_face(http, services, symbols, monkeypatch):
    def here(*_):
        raise AssertionError("read on the event loop")

    def asked(padding):
        yield b'{"portfolio_weights": {"%s": 1.0}' % symbols[0].encode()
        for _ in range(padding // 1000):
            yield b" " * 1000
        yield b"}"

    def answer(padding):
        found = http.post(
            "/factor-exposures/calculate", content=asked(padding), headers={"content-type": "application/json"}
        )
        assert "content-length" not in found.request.headers
        return found

    before = services.reader.stats()["json"]["read"]
    small = answer(0).json()["calculation_result"]["factor_exposures"]
    assert services.reader.stats()["json"]["read"] == before
    monkeypatch.setattr("bus.reader.request_of", here)
    assert answer(2 * HERE_BYTES).json()["calculation_result"]["factor_exposures"] == small
    assert services.reader.stats()["json"]["read"] == before + 1
    assert answer(0).json()["code"] == "internal", "what is small is read here"


def test_what_the_query_names_is_a_field_or_is_told_or_refused(http, symbols, sample):
    """An older version that is asked for by another word is not answered with the newest, nor a date with today."""
    for weight in (1.0, 0.5):
        assert http.put("/portfolios/asked", json={"holdings": {"always": {symbols[0]: weight}}}).is_success
    asked = http.get("/portfolios/asked", params={"portfolio_version": 1}).json()
    assert (asked["portfolio_version"], "ignored_fields" in asked) == (1, False)
    slip = http.get("/portfolios/asked", params={"version": 1})
    assert (slip.status_code, slip.json()["field"]) == (422, "version")
    assert "did you mean portfolio_version" in slip.json()["detail"]
    told = http.get("/portfolios/asked", params={"desk": "rates"}).json()
    assert (told["portfolio_version"], told["ignored_fields"]) == (2, ["desk"])
    assert http.get("/factor-models/m/quality?at=2019-01-01").json()["ignored_fields"] == ["at"]
    day = sample.filter(sample["date"] == sample["date"].max()).select("date", "symbol", "asset_returns", "market_cap")
    body = {"content": day.write_csv().encode(), "headers": {"content-type": "text/csv"}}
    table = http.put("/factor-model/never/data", params={"symbol_cl": "symbol"}, **body)
    assert (table.status_code, table.json()["field"]) == (422, "symbol_cl")
