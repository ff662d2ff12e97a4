"""Features and data sets of a small model against plain loops over the posted rows."""

import datetime as dt
import hashlib
import io
import struct

import numpy as np
import orjson
import polars as pl
import pytest
from fixtures_actors import start
from whole_catalogue import whole_catalogue

from actors.learning import operations
from actors.learning.dataset import CELLS_MOST
from actors.learning.operations import Learning
from actors.library.formulas import Formulas
from actors.reading.slices import Slices
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts.errors import EngineError, InvalidInput
from contracts.frames import encode
from contracts.learning_requests import Dataset, FactorFeatures
from contracts.requests import CreateModel
from contracts.settings import settings
from contracts.work import Device
from devices.dispatch import Dispatcher
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.library import Catalogue
from factors.panel.panel import Panel
from factors.sample.market import sample_market

FEATURES = ["beta", "momentum", "barra_rstr"]
ASKED = {"factors": FEATURES, "horizons": [1, 5], "n_folds": 4, "n_test_folds": 2, "embargo_days": 3, "delay_days": 1}
COLUMNS = {"returns": "asset_returns"}


class Here(Learning):
    """The methods, without the actor that they are on."""

    def __init__(self) -> None:
        self.settings = settings()
        self.devices = Dispatcher({})
        self.slices = Slices()
        catalogue = whole_catalogue()
        few = {name: catalogue.entries[name] for name in ("barra_rstr", "alpha158_ma60")}
        chosen = Catalogue(few, {}, catalogue.definitions)
        self.formulas = Formulas(chosen, {})

    def _refuse_uncomputable(self, model_id, ids) -> None:
        """All of them can be computed on this market."""


@pytest.fixture(scope="module")
def market():
    panel = Panel.from_frame(sample_market(n_assets=25, n_days=300).panel.to_frame(names=COLUMNS))
    holes = panel.fields["returns"].copy()
    holes[[40, 200, 201], [3, 4, 5]] = np.nan
    return Panel(panel.dates, panel.symbols, {**panel.fields, "returns": holes}, panel.categories)


@pytest.fixture(scope="module")
def learning(market, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
        settings.cache_clear()
        writer = start(FactorModelCreation)
        frame = encode(market.to_frame(names=COLUMNS))
        writer.create_model(CreateModel(model_id="m", feature_data=frame, request_id="c"))
        yield Here()
    settings.cache_clear()


@pytest.fixture(scope="module")
def made(learning):
    answer = learning.dataset(Dataset(model_id="m", **ASKED))
    return pl.read_ipc_stream(io.BytesIO(answer.values.stream)), answer.details["manifest"]


def test_labels_compound_the_returns_behind_the_date_and_the_delay(made, market):
    frame, _ = made
    dates, column = market.dates.astype("datetime64[D]").tolist(), {s: i for i, s in enumerate(market.symbols)}
    returns = market.fields["returns"]
    for horizon in ASKED["horizons"]:
        seen = missing = 0
        for date, symbol, got in frame.select("date", "symbol", f"forward_return_{horizon}").iter_rows():
            first = dates.index(date) + ASKED["delay_days"] + 1
            days = [returns[t, column[symbol]] for t in range(first, first + horizon) if t < len(dates)]
            whole = len(days) == horizon and all(value == value for value in days)
            assert (got is not None) == whole, (date, symbol)
            if whole:
                seen += 1
                assert got == pytest.approx(np.prod([1.0 + value for value in days]) - 1.0, rel=1e-12, abs=1e-15)
            missing += not whole and first + horizon <= len(dates)
        assert seen > 1000
        assert missing >= 3 * horizon


def test_features_are_those_of_each_date_and_a_missing_one_is_null(made, learning, market):
    frame, _ = made
    dates = frame["date"].unique().sort().to_list()
    absent = 0
    for date in (dates[-1], dates[-40], dates[10]):
        asked = FactorFeatures(model_id="m", factors=FEATURES, date_requested=date)
        values = learning.factor_features(asked).values
        rows = frame.filter(pl.col("date") == date)
        assert sorted(values) == sorted(rows["symbol"])
        for row in rows.iter_rows(named=True):
            assert {name: row[name] for name in FEATURES} == values[row["symbol"]]
            absent += sum(row[name] is None for name in FEATURES)
    assert absent > 0


def test_features_of_a_model_are_its_exposures_where_nothing_is_missing(learning, market):
    model = FactorModel().fit(market)
    names = ["market", *model.style_names_, *(name for name in model.factor_names_ if name not in model.style_names_)]
    names = list(dict.fromkeys(names))
    values = learning.factor_features(FactorFeatures(model_id="m", factors=names)).values
    exposures = model.exposures()
    compared = 0
    for symbol, row in zip(model.symbols_, exposures, strict=True):
        if symbol in values:
            for name, value in zip(model.factor_names_, row, strict=True):
                got = values[symbol][name]
                assert got is None or got == pytest.approx(value, abs=1e-12)
                compared += got is not None
    assert compared > 0.8 * len(values) * len(names)


def scored(values):
    known = np.array([value is not None for value in values])
    numbers = np.array([value for value in values if value is not None])
    out = np.full(len(values), np.nan)
    out[known] = (numbers - numbers.mean()) / numbers.std()
    return out


@pytest.mark.parametrize("clip", [None, 0.8])
def test_z_scores_are_across_all_names_that_have_the_value_and_exposures_stay(learning, made, clip):
    names = ["market", *FEATURES]
    raw = learning.factor_features(FactorFeatures(model_id="m", factors=names)).values
    chosen = sorted(raw)[:5]
    asked = FactorFeatures(model_id="m", factors=names, form="zscored", clip=clip, symbols=chosen)
    answer = learning.factor_features(asked)
    assert answer.device is Device.CPU
    assert sorted(answer.values) == chosen
    for name in names:
        of_all = [raw[symbol][name] for symbol in raw]
        expected = np.array(of_all, float) if name == "market" else scored(of_all)
        if clip is not None and name != "market":
            expected = np.clip(expected, -clip, clip)
        got = np.array([answer.values[symbol][name] for symbol in chosen], float)
        np.testing.assert_allclose(got, [expected[list(raw).index(symbol)] for symbol in chosen], rtol=1e-12)
    if clip is not None:
        assert np.abs(list(answer.values[chosen[0]].values())[1:]).max() <= clip


def test_a_data_set_of_z_scores_has_those_of_each_date_and_its_manifest_says_so(learning):
    answer = learning.dataset(Dataset(model_id="m", **ASKED, form="zscored", clip=2.0))
    frame, manifest = pl.read_ipc_stream(io.BytesIO(answer.values.stream)), answer.details["manifest"]
    assert (manifest["request"]["form"], manifest["request"]["clip"]) == ("zscored", 2.0)
    dates = frame["date"].unique().sort().to_list()
    for date in (dates[-1], dates[-40]):
        asked = FactorFeatures(model_id="m", factors=FEATURES, date_requested=date, form="zscored", clip=2.0)
        values = learning.factor_features(asked).values
        for row in frame.filter(pl.col("date") == date).iter_rows(named=True):
            assert {name: row[name] for name in FEATURES} == values[row["symbol"]]
    again = {"model_id": "m", **manifest["request"], "sha256": manifest["sha256"]}
    learning.dataset(Dataset.model_validate(again))
    with pytest.raises(InvalidInput):
        learning.dataset(Dataset.model_validate({**again, "form": "raw"}))


def test_a_clip_of_raw_values_does_nothing_and_is_told():
    assert list(FactorFeatures(clip=2.0).idle()) == list(Dataset(clip=2.0).idle()) == ["clip"]
    assert list(FactorFeatures(clip=2.0, form="zscored").idle()) == []


def test_a_period_of_features_has_the_rows_of_the_data_set(made, learning):
    frame, _ = made
    dates = frame["date"].unique().sort().to_list()
    asked = FactorFeatures(model_id="m", factors=FEATURES, start_date=dates[-3], end_date=dates[-2])
    got = pl.read_ipc_stream(io.BytesIO(learning.factor_features(asked).values.stream))
    expected = frame.filter(pl.col("date").is_between(dates[-3], dates[-2])).select("date", "symbol", *FEATURES)
    assert got.equals(expected)


def test_windows_speak_before_they_are_full_where_that_is_asked(learning, market):
    row, name = 20, "alpha158_ma60"
    date = market.dates[row].astype("datetime64[D]").item()
    close = market.fields["close"]
    asked = {"model_id": "m", "factors": [name]}
    strict = learning.factor_features(FactorFeatures(**asked, date_requested=date)).values
    assert {values[name] for values in strict.values()} == {None}
    early = learning.factor_features(FactorFeatures(**asked, date_requested=date, min_periods="one")).values
    for symbol, values in early.items():
        own = close[: row + 1, market.symbols.index(symbol)]
        mean = np.nanmean(own) / own[-1]
        assert values[name] == pytest.approx(mean, rel=1e-12) if own[-1] == own[-1] else values[name] is None
    assert len(early) > 15
    period = FactorFeatures(**asked, start_date=date, end_date=date, min_periods="one")
    table = pl.read_ipc_stream(io.BytesIO(learning.factor_features(period).values.stream))
    assert dict(table.select("symbol", name).iter_rows()) == {symbol: row[name] for symbol, row in early.items()}
    answer = learning.dataset(Dataset(**asked, min_periods="one"))
    frame = pl.read_ipc_stream(io.BytesIO(answer.values.stream)).filter(date=date)
    assert dict(frame.select("symbol", name).iter_rows()) == {symbol: row[name] for symbol, row in early.items()}
    assert answer.details["manifest"]["request"]["min_periods"] == "one"


def test_a_split_marks_dates_whose_labels_share_a_return_and_those_behind(made):
    frame, manifest = made
    dates = frame["date"].unique().sort().to_list()
    folds = dict(frame.select("date", "fold").unique().iter_rows())
    span = ASKED["delay_days"] + max(ASKED["horizons"])
    assert len(manifest["splits"]) == 6
    for split in manifest["splits"]:
        marks = dict(frame.select("date", split["column"]).unique().iter_rows())
        tested = [i for i, date in enumerate(dates) if folds[date] in split["test_folds"]]
        for i, date in enumerate(dates):
            near = any(abs(i - j) < span for j in tested)
            behind = any(0 < i - j < span + ASKED["embargo_days"] for j in tested)
            expected = "test" if i in tested else "purged" if near else "embargoed" if behind else "train"
            assert marks[date] == expected
        counts = {f"n_{mark}_dates": list(marks.values()).count(mark) for mark in set(marks.values())}
        assert {name: split[name] for name in counts} == counts


def test_the_manifest_hashes_what_the_table_has_and_repeats_it(made, learning):
    frame, manifest = made
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
            content = b"".join(struct.pack("<d", np.nan if value is None else value + 0.0) for value in column)
        assert row["sha256"] == hashlib.sha256(content).hexdigest(), row["name"]
        lines.append(f"{row['name']} {row['sha256']}\n")
    assert manifest["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    asked = {"model_id": "m", **manifest["request"], "sha256": manifest["sha256"]}
    again = learning.dataset(Dataset.model_validate(asked))
    assert pl.read_ipc_stream(io.BytesIO(again.values.stream)).equals(frame)
    with pytest.raises(InvalidInput) as caught:
        learning.dataset(Dataset.model_validate({**asked, "horizons": [2]}))
    assert caught.value.field == "sha256"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"factors": ["nope"]}, "factors"),
        ({"n_folds": 50, "horizons": [21]}, "n_folds"),
        ({"n_test_folds": 5}, "n_test_folds"),
        ({"symbols": ["NOBODY"]}, "symbols"),
        ({"start_date": dt.date(1999, 1, 1), "end_date": dt.date(1999, 2, 1)}, "start_date"),
    ],
)
def test_what_cannot_be_made_names_the_field(learning, body, field):
    with pytest.raises((EngineError, FactorError)) as caught:
        learning.dataset(Dataset(model_id="m", **body))
    assert caught.value.field == field


def test_a_table_that_would_be_too_large_is_refused_before_it_is_made(learning, monkeypatch):
    monkeypatch.setattr("actors.learning.dataset.CELLS_MOST", 1000)
    monkeypatch.setattr(operations, "feature_values", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(InvalidInput, match="at most 1,000"):
        learning.dataset(Dataset(model_id="m"))
    assert CELLS_MOST > 1000
