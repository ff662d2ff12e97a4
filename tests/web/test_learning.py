"""Data sets and estimators over HTTP, on the real actors: against plain loops, and against scikit-learn itself."""

import base64
import datetime as dt
import hashlib
import io
import os
import struct

import numpy as np
import orjson
import polars as pl
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from bus import answer_form
from contracts.frames import ARROW_STREAM
from contracts.operations import OPERATIONS
from contracts.tokens import Scope

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


def test_labels_compound_the_returns_behind_the_date_and_the_delay(dataset, sample):
    frame, *_ = dataset
    dates = sorted(sample["date"].unique().to_list())
    returns = {(row["date"], row["symbol"]): row["asset_returns"] for row in sample.iter_rows(named=True)}
    for horizon in ASKED["horizons"]:
        seen = 0
        for row in frame.iter_rows(named=True):
            t = dates.index(row["date"]) + ASKED["delay_days"] + 1
            days = dates[t : t + horizon]
            made = [returns.get((day, row["symbol"])) for day in days]
            expected = None
            if len(days) == horizon and all(value is not None and value == value for value in made):
                expected = float(np.prod([1.0 + value for value in made]) - 1.0)
                seen += 1
            got = row[f"forward_return_{horizon}"]
            assert (got is None) == (expected is None), row
            assert got is None or got == pytest.approx(expected, rel=1e-12, abs=1e-15)
        assert seen > 1000


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


def test_a_split_marks_dates_whose_labels_share_a_return_and_those_behind(dataset):
    frame, _, whole = dataset
    dates = frame["date"].unique().sort().to_list()
    span = ASKED["delay_days"] + max(ASKED["horizons"])
    for split in whole["manifest"]["splits"]:
        marks = dict(frame.select("date", split["column"]).unique().iter_rows())
        folds = dict(frame.select("date", "fold").unique().iter_rows())
        assert len(marks) == len(dates)
        tested = [i for i, date in enumerate(dates) if folds[date] in split["test_folds"]]
        for i, date in enumerate(dates):
            near = any(abs(i - j) < span for j in tested)
            behind = any(0 < i - j < span + ASKED["embargo_days"] for j in tested)
            expected = "test" if i in tested else "purged" if near else "embargoed" if behind else "train"
            assert marks[date] == expected
    assert len(whole["manifest"]["splits"]) == 6


def test_the_manifest_hashes_what_the_table_has_and_repeats_it(dataset, http):
    frame, told, whole = dataset
    manifest = whole["manifest"]
    assert told["calculation_result"].get("manifest", manifest) == manifest
    lines = []
    for row in manifest["columns"]:
        column = frame[row["name"]]
        if row["name"] == "date":
            content = b"".join(struct.pack("<q", (day - dt.date(1970, 1, 1)).days) for day in column)
        elif row["name"] == "symbol" or row["name"].startswith("split_"):
            content = orjson.dumps(column.to_list())
        elif row["name"] == "fold":
            content = b"".join(struct.pack("<q", fold) for fold in column)
        else:
            content = b"".join(struct.pack("<d", float("nan") if value is None else value + 0.0) for value in column)
        assert row["sha256"] == hashlib.sha256(content).hexdigest(), row["name"]
        lines.append(f"{row['name']} {row['sha256']}\n")
    assert manifest["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    again = http.post("/ml/dataset", json={**manifest["request"], "sha256": manifest["sha256"]}, headers=ARROW)
    assert pl.read_ipc_stream(io.BytesIO(again.content)).equals(frame)
    other = http.post("/ml/dataset", json={**manifest["request"], "horizons": [2], "sha256": manifest["sha256"]})
    assert (other.status_code, other.json()["field"]) == (422, "sha256")


def test_json_of_too_many_values_is_refused_and_says_how_to_ask(http, monkeypatch, dataset):
    monkeypatch.setattr(answer_form, "JSON_VALUES_MOST", 1000)
    refused = http.post("/ml/dataset", json=ASKED)
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
    assert f"Accept: {ARROW_STREAM}" in refused.json()["detail"]
    monkeypatch.setattr(answer_form, "BLOCK", 10)
    monkeypatch.setattr(answer_form, "JSON_VALUES_MOST", 20)
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


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"factors": ["nope"]}, "factors"),
        ({"horizons": [1, 1]}, "horizons"),
        ({"n_folds": 50, "horizons": [21]}, "n_folds"),
        ({"n_test_folds": 5}, "n_test_folds"),
        ({"symbols": ["NOBODY"]}, "symbols"),
        ({"start_date": "1999-01-01", "end_date": "1999-02-01"}, "start_date"),
    ],
)
def test_what_cannot_be_made_names_the_field(http, body, field):
    refused = http.post("/ml/dataset", json=body)
    assert refused.status_code in (404, 422)
    assert refused.json()["field"] == field


# -- estimators


def put(http, estimator, name="own", features=("beta", "momentum"), trusted=(), content=None):
    content = skops.io.dumps(estimator) if content is None else content
    body = {"estimator": base64.b64encode(content).decode(), "features": list(features), "trusted": list(trusted)}
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
    both = http.post("/ml/predict", json={"estimator_id": "trees", "features": table, "symbols": ["X"]})
    assert both.status_code == 422
    assert http.delete("/estimators/trees").status_code == 200


def looping_tree(trained):
    """A tree whose nodes lead far out of the array: what skops loads without complaint when its type is trusted."""
    tree = DecisionTreeRegressor(max_depth=2).fit(*trained)
    state = tree.tree_.__getstate__()
    state["nodes"]["left_child"] = 2**40
    state["nodes"]["right_child"] = 2**40
    tree.tree_.__setstate__(state)
    return tree


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no zip", "zip"),
        (b"\x80\x04\x95", "zip"),
        (lambda trained: skops.io.dumps(LinearRegression().fit(*trained))[:-200], "zip"),
        (lambda _: skops.io.dumps({"a": 1}), "predicts nothing"),
        (lambda _: skops.io.dumps(LinearRegression()), "predict"),
    ],
)
def test_a_bad_file_is_refused_and_says_what_is_wrong(http, trained, content, said):
    answer = put(http, None, content=content(trained) if callable(content) else content)
    assert (answer.status_code, answer.json()["field"]) == (422, "estimator")
    assert said in answer.json()["detail"]


def test_types_of_others_are_not_loaded_though_they_are_trusted(http):
    evil = skops.io.dumps(FunctionTransformer(func=os.getcwd))
    (name,) = skops.io.get_untrusted_types(data=evil)
    for trusted in ([], [name]):
        answer = put(http, None, content=evil, trusted=trusted)
        assert (answer.status_code, answer.json()["field"]) == (422, "trusted")
        assert name in answer.json()["detail"]


def test_a_file_that_ends_its_process_ends_nothing_else(http, trained):
    answer = put(http, looping_tree(trained), "crash", trusted=["sklearn.tree._tree.Tree"])
    assert (answer.status_code, answer.json()["field"]) == (422, "estimator"), answer.text
    assert "ends the process" in answer.json()["detail"]
    assert http.get("/estimators").status_code == 200


def test_columns_that_do_not_fit_are_refused(http, trained):
    answer = put(http, LinearRegression().fit(*trained), features=["beta"])
    assert (answer.status_code, answer.json()["field"]) == (422, "features")
    named = LinearRegression().fit(pl.DataFrame(trained[0], schema=["beta", "momentum"]), trained[1])
    answer = put(http, named, features=["momentum", "beta"])
    assert (answer.status_code, answer.json()["field"]) == (422, "features")


def test_only_an_admin_registers_and_removes_and_over_http_alone():
    for name in ("put_estimator", "delete_estimator"):
        assert OPERATIONS[name].scope is Scope.ADMIN
        assert OPERATIONS[name].subjects == ()
