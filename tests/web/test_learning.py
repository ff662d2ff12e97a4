"""Data sets and estimators over HTTP, on the real actors: against plain loops, and against scikit-learn itself."""

import base64
import io

import numpy as np
import orjson
import polars as pl
import pytest
import skops.io
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from bus import answer_form, face
from contracts.frames import ARROW_STREAM
from contracts.operations import OPERATIONS
from contracts.tokens import Scope
from router import packing
from tests.exported_networks import exported

ARROW = {"accept": ARROW_STREAM}
FEATURES = ["beta", "momentum", "barra_rstr"]
ASKED = {"factors": FEATURES, "horizons": [1, 5], "n_folds": 4, "n_test_folds": 2, "embargo_days": 3, "delay_days": 1}


def table_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ARROW_STREAM
    return pl.read_ipc_stream(io.BytesIO(answer.content)), orjson.loads(answer.headers["factor-answer"])


@pytest.fixture(scope="module")
def dataset(http):
    frame, told = table_of(http.post("/ml/dataset", json=ASKED, headers=ARROW))
    whole = http.post("/ml/dataset", json=ASKED).json()["calculation_result"]
    return frame, told, whole


def test_features_are_those_of_each_date_and_a_missing_one_is_null(dataset, http):
    frame, *_ = dataset
    dates = frame["date"].unique().sort()
    missing = 0
    for date in (dates[-1], dates[-40], dates[10]):
        asked = {"factors": FEATURES, "date_requested": str(date)}
        values = http.post("/factor-features/calculate", json=asked).json()["calculation_result"]["factor_values"]
        rows = frame.filter(pl.col("date") == date)
        assert sorted(values) == sorted(rows["symbol"])
        for row in rows.iter_rows(named=True):
            assert {name: row[name] for name in FEATURES} == values[row["symbol"]]
            missing += sum(row[name] is None for name in FEATURES)
    assert missing > 0
    library = http.post("/factors/cross-section", json={"factors": ["barra_rstr"]}).json()["calculation_result"]
    raw = dict(zip(library["symbols"], library["factor_values"]["barra_rstr"]["raw"], strict=True))
    last = frame.filter(pl.col("date") == dates[-1])
    assert {symbol: raw[symbol] for symbol in last["symbol"]} == dict(
        zip(last["symbol"], last["barra_rstr"], strict=True)
    )


def test_json_of_too_many_values_is_refused_and_says_how_to_ask(http, monkeypatch, dataset):
    monkeypatch.setattr(answer_form, "JSON_VALUES_MOST", 1000)
    refused = http.post("/ml/dataset", json=ASKED)
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    assert f"Accept: {ARROW_STREAM}" in refused.json()["detail"]
    monkeypatch.setattr(answer_form, "JSON_VALUES_MOST", 20)
    monkeypatch.setattr(face, "BLOCK", 10)  # an answer that is written in one go is not held to the limit
    monkeypatch.setattr(packing, "FEW_BYTES", 0)
    plain = http.post("/factor-features/calculate", json={})
    assert plain.status_code == 406
    frame, _ = table_of(http.post("/ml/dataset", json=ASKED, headers=ARROW))
    assert frame.height == dataset[0].height


def test_a_period_of_features_is_a_table(http, dataset):
    frame, *_ = dataset
    dates = frame["date"].unique().sort()
    asked = {"factors": FEATURES, "start_date": str(dates[-3]), "end_date": str(dates[-2])}
    got, told = table_of(http.post("/factor-features/calculate", json=asked, headers=ARROW))
    expected = frame.filter(pl.col("date").is_between(dates[-3], dates[-2])).select("date", "symbol", *FEATURES)
    assert got.equals(expected)
    assert told["calculation_result"]["columns"] == got.columns
    both = http.post("/factor-features/calculate", json={**asked, "date_requested": str(dates[-1])})
    assert both.status_code == 422


# -- estimators


def put(http, estimator, name="own", features=("beta", "momentum"), trusted=(), content=None, **more):
    content = skops.io.dumps(estimator) if content is None else content
    body = {"estimator": base64.b64encode(content).decode(), "features": list(features), "trusted": list(trusted)}
    body |= more
    return http.put(f"/estimators/{name}", json=body)


@pytest.fixture(scope="module")
def trained(dataset):
    rows = dataset[0].drop_nulls(["beta", "momentum", "forward_return_5"])
    return rows.select("beta", "momentum").to_numpy(), rows["forward_return_5"].to_numpy()


def test_predictions_are_those_of_scikit_learn_on_the_same_features(http, dataset, trained):
    estimator = LinearRegression().fit(*trained)
    made = put(http, estimator)
    assert made.status_code == 200, made.text
    assert made.json()["calculation_result"]["factor_values"]["kind"].endswith("LinearRegression")
    frame, *_ = dataset
    for date in (frame["date"].max(), frame["date"].unique().sort()[3]):
        rows = frame.filter(pl.col("date") == date)
        answer = http.post("/ml/predict", json={"estimator_id": "own", "date_requested": str(date)}).json()
        got = answer["calculation_result"]["factor_values"]
        whole = rows.drop_nulls(["beta", "momentum"])
        expected = dict.fromkeys(rows["symbol"].to_list()) | dict(
            zip(
                whole["symbol"],
                estimator.predict(whole.select("beta", "momentum").to_numpy()) if len(whole) else [],
                strict=True,
            )
        )
        assert got.keys() == expected.keys()
        for symbol, value in expected.items():
            assert got[symbol] == (None if value is None else pytest.approx(value, rel=1e-12)), symbol
        assert answer["calculation_result"]["n_without_features"] == rows.height - whole.height
    listed = http.get("/estimators").json()["estimators"]
    assert [row["estimator_id"] for row in listed if row["estimator_id"] == "own"] == ["own"]
    assert http.delete("/estimators/own").status_code == 200
    gone = http.post("/ml/predict", json={"estimator_id": "own"})
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_estimator")
    assert http.delete("/estimators/own").status_code == 404


def test_an_estimator_of_z_scores_is_given_a_models_features_as_its_data_set_had_them(http):
    form = {"form": "zscored", "clip": 1.0}
    frame, _ = table_of(http.post("/ml/dataset", json={**ASKED, **form}, headers=ARROW))
    raw, _ = table_of(http.post("/ml/dataset", json=ASKED, headers=ARROW))
    assert frame["beta"].abs().max() == 1.0 < raw["beta"].abs().max()
    rows = frame.drop_nulls(["beta", "momentum", "forward_return_5"])
    estimator = LinearRegression().fit(rows.select("beta", "momentum").to_numpy(), rows["forward_return_5"].to_numpy())
    made = put(http, estimator, "scored", features_form="zscored", features_clip=1.0)
    assert made.status_code == 200, made.text
    date = frame["date"].max()
    last = frame.filter(pl.col("date") == date).drop_nulls(["beta", "momentum"])
    expected = dict(zip(last["symbol"], estimator.predict(last.select("beta", "momentum").to_numpy()), strict=True))
    answer = http.post("/ml/predict", json={"estimator_id": "scored", "date_requested": str(date)}).json()
    got = {name: x for name, x in answer["calculation_result"]["factor_values"].items() if x is not None}
    assert got.keys() == expected.keys()
    for symbol, value in expected.items():
        assert got[symbol] == pytest.approx(value, rel=1e-12), symbol
    (listed,) = [row for row in http.get("/estimators").json()["estimators"] if row["estimator_id"] == "scored"]
    assert (listed["features_form"], listed["features_clip"]) == ("zscored", 1.0)
    plain = put(http, estimator, "scored", features_clip=1.0)
    assert plain.json()["ignored_fields"] == ["features_clip"], plain.text
    assert http.delete("/estimators/scored").status_code == 200


def test_a_network_of_a_callers_own_comes_as_onnx_and_predicts_as_the_file_does(http):
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "v"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((2, 3)), "b": rng.standard_normal(3), "v": rng.standard_normal((3, 1))}
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    ends = [helper.make_tensor_value_info(name, 1, ["n", width]) for name, width in (("x", 2), ("y", 1))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    body = {"estimator": base64.b64encode(model.SerializeToString()).decode(), "features": ["beta", "momentum"]}
    assert http.put("/estimators/net", json=body).json()["detail"].startswith("it is no file of skops")
    made = http.put("/estimators/net", json={**body, "format": "onnx"})
    assert made.status_code == 200, made.text
    assert made.json()["calculation_result"]["factor_values"]["network"] is True
    table = {"symbol": ["X", "Y"], "momentum": [0.5, None], "beta": [1.0, -1.0]}
    answer = http.post("/ml/predict", json={"estimator_id": "net", "features": table}).json()["calculation_result"]
    (right,) = ReferenceEvaluator(model).run(None, {"x": np.float32([[1.0, 0.5]])})
    assert answer["factor_values"] == {"X": pytest.approx(float(right[0, 0]), rel=1e-5), "Y": None}
    assert answer["hardware_used"] == "cpu"
    (row,) = [row for row in http.get("/estimators").json()["estimators"] if row["estimator_id"] == "net"]
    assert (row["format"], row["network"], row["kind"]) == ("onnx", True, "onnx.ModelProto")
    calls = {a["workload"]: a for a in http.get("/health").json()["actors"]}["factor_library"]["notes"]["devices"]
    assert calls["answered"]["cpu"] >= 1
    assert http.delete("/estimators/net").status_code == 200


@pytest.mark.oracle
def test_a_file_of_a_real_exporter_is_taken_and_predicts_as_the_library_that_trained_it(http, tmp_path):
    rows, cases = exported(tmp_path, "relu_standard_float32", "tanh_minmax_float64")
    names = ["beta", "momentum", "size", "value"]
    table = {"symbol": [f"S{i}" for i in range(len(rows))], **dict(zip(names, rows.T.tolist(), strict=True))}
    for content, right in cases.values():
        body = {"estimator": base64.b64encode(content).decode(), "format": "onnx", "features": names}
        made = http.put("/estimators/exported", json=body)
        assert made.status_code == 200, made.text
        assert made.json()["calculation_result"]["factor_values"]["network"] is True
        asked = {"estimator_id": "exported", "features": table}
        values = http.post("/ml/predict", json=asked).json()["calculation_result"]["factor_values"]
        given = np.array([values[symbol] for symbol in table["symbol"]])
        assert np.abs(given - right).max() <= 2e-6 * np.abs(right).max()
    assert http.delete("/estimators/exported").status_code == 200


def test_given_features_are_taken_and_missing_ones_where_the_estimator_takes_them(http, trained):
    trees = HistGradientBoostingRegressor(max_iter=5).fit(*trained)
    refused = put(http, trees, "trees")
    assert (refused.status_code, refused.json()["field"]) == (422, "trusted")
    named = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    assert named in refused.json()["detail"]
    assert put(http, trees, "trees", trusted=[named]).status_code == 200
    table = {"symbol": ["X", "Y"], "momentum": [0.5, None], "beta": [1.0, -1.0]}
    answer = http.post("/ml/predict", json={"estimator_id": "trees", "features": table}).json()
    rows = np.array([[1.0, 0.5], [-1.0, np.nan]])
    expected = dict(zip("XY", trees.predict(rows), strict=True))
    assert answer["calculation_result"]["factor_values"] == pytest.approx(expected, rel=1e-12)
    lacking = http.post("/ml/predict", json={"estimator_id": "trees", "features": {"beta": [1.0]}})
    assert (lacking.status_code, lacking.json()["field"]) == (422, "features")
    typed = {"ticker": ["X", "Y"], "mom": ["0.5", "NA"], "beta": [1.0, -1.0]}
    asked = {
        "estimator_id": "trees",
        "features": typed,
        "intake": {"symbol_col": "ticker", "columns": {"mom": "momentum"}},
    }
    refused = http.post("/ml/predict", json=asked)
    assert (refused.status_code, refused.json()["field"], refused.json()["rows"]) == (422, "features.momentum", ["Y"])
    assert "it holds 'NA'; na_values" in refused.json()["detail"]
    asked["intake"]["na_values"] = ["NA"]
    answer = http.post("/ml/predict", json=asked).json()["calculation_result"]
    assert answer["factor_values"] == pytest.approx(expected, rel=1e-12)
    wrong = http.post("/ml/predict", json={**asked, "intake": {"symbol_column": "ticker"}})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "intake.symbol_column")
    both = http.post("/ml/predict", json={"estimator_id": "trees", "features": table, "symbols": ["X"]})
    assert both.status_code == 422
    assert http.delete("/estimators/trees").status_code == 200


def test_only_an_admin_registers_and_removes_and_over_http_alone():
    for name in ("put_estimator", "delete_estimator"):
        assert OPERATIONS[name].scope is Scope.ADMIN
        assert OPERATIONS[name].subjects == ()


def test_every_answer_that_is_a_table_has_the_numbers_of_its_json(http):
    """On the real actors: the shapes that the rows name are those that the answers have."""
    served = http.get("/openapi.json").json()["paths"]
    assert (
        put(http, LinearRegression().fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 2.0]), "example-estimator").status_code == 200
    )
    asked = 0
    for row in OPERATIONS.values():
        if not row.table or row.name == "update_factors":
            continue
        route = row.routes[0]
        described = served[route.path][route.method.lower()]
        content = described.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("example")
        path = route.path.format_map({p["name"]: p.get("example") for p in described.get("parameters", [])})
        plain = http.request(route.method, path, json=body)
        assert plain.status_code == 200, (row.name, plain.text)
        frame, told = table_of(http.request(route.method, path, json=body, headers=ARROW))
        assert told["success"] is True
        assert frame.height > 0, row.name
        numbers = sorted(numbers_in(plain.json()["calculation_result"][row.values]))
        if row.name in ("dataset", "risk_history", "factor_returns"):
            continue  # beside the table they have figures of the whole, or the table has more days
        columns = [name for name, kind in frame.schema.items() if kind.is_numeric()]
        cells = [value for name in columns for value in frame[name].to_list() if value is not None]
        assert sorted(cells) == pytest.approx(numbers), row.name
        asked += 1
    assert asked > 12
    assert http.delete("/estimators/example-estimator").status_code == 200


def numbers_in(value):
    """Every number in a nested answer."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
