"""One door for tables: the same settings, and for the same fault the same error, by every way in."""

import asyncio
import csv
import io
import json

import httpx
import orjson
import polars as pl
import pytest
from fixtures_nats import bridge_over, peer_of

from bus.reader import Reader
from clients.http import HttpEngine
from clients.nats import NatsEngine
from contracts.errors import EngineError
from contracts.frames import CSV
from contracts.frames import from_json as of_json
from contracts.operations import OPERATIONS
from contracts.requests import CorrectDays, CreateModel, StyleFactors
from engine.errors import StartError
from engine.market_file import data_market
from factors.errors import FactorError
from factors.panel.intake import Intake
from factors.panel.panel import Panel
from web.app import make_app

NAMES = [f"N{i:02d}" for i in range(12)]
DAYS = [f"2024-01-{day:02d}" for day in range(2, 32)]
OWN = {"date_col": "Day", "symbol_col": "Ticker", "returns_col": "ret", "mkt_cap_col": "cap"}
CLIENT = "http://testserver"


def market(days=DAYS):
    """The table as its owner has it: columns of his own, days as in the United States."""
    rows = [(day, name) for day in days for name in NAMES]
    return pl.DataFrame(
        {
            "Day": [f"{day[5:7]}/{day[8:]}/{day[:4]}" for day, _ in rows],
            "Ticker": [name for _, name in rows],
            "ret": [((i * 7 + DAYS.index(day) * 3) % 11 - 5) / 1000 for day, _ in rows for i in [rows.index((day, _))]],
            "cap": [1e9 * (NAMES.index(name) + 1) for _, name in rows],
            "sector": [("Energy", "Utilities")[NAMES.index(name) % 2] for _, name in rows],
        }
    )


INTAKE = {**OWN, "date_format": "%m/%d/%Y"}


def columns(frame):
    return frame.to_dict(as_series=False)


def text_in(column, at, text):
    """A table as JSON has it: a text stands between the numbers."""

    def change(frame):
        found = columns(frame)
        found[column] = [text if i == at else value for i, value in enumerate(found[column])]
        return found

    return change


def values(column, change):
    return lambda frame: columns(frame.with_columns(change(pl.col(column)).alias(column)))


def again(frame):
    return columns(pl.concat([frame, frame.head(1)]))


def without(column):
    return lambda frame: columns(frame.drop(column))


FAULTS = {
    "days that are not ISO": ({**OWN}, columns, "Day", "date_format of the intake"),
    "days of another format": ({**OWN, "date_format": "%Y.%m.%d"}, columns, "Day", "not written as date_format"),
    "a format that is none": ({**OWN, "date_format": "day"}, columns, "intake.date_format", "must be a pattern"),
    "a setting that is none": ({**INTAKE, "speed": 3}, columns, "intake.speed", "is not a setting"),
    "a text for a number": (INTAKE, text_in("ret", 3, "n/a"), "ret", "it holds 'n/a'; na_values of the intake"),
    "another text than na_values": (
        {**INTAKE, "na_values": ["NA"]},
        text_in("ret", 3, "n/a"),
        "ret",
        "it holds 'n/a'",
    ),
    "a row twice": (INTAKE, again, "Ticker", "occur more than once"),
    "no symbol": (INTAKE, text_in("Ticker", 2, None), "Ticker", "a row has no symbol"),
    "a return below -100 %": (INTAKE, values("ret", lambda c: c - 1.5), "ret", "below -100 %"),
    "a column that is not there": (INTAKE, without("ret"), "ret", "no column 'ret'"),
    "returns in percent, and strict": (
        {**INTAKE, "policy": "strict"},
        values("ret", lambda c: c.abs() * 1000 + 1),
        "ret",
        "returns look like percent",
    ),
}


def post(http, path, **body):
    answer = http.post(path, json=body)
    return answer.status_code, answer.json()


def library(_, table, intake, **__):
    try:
        Panel.from_frame(of_json(table), intake=Intake().changed(intake))
    except FactorError as error:
        # Inside the library a setting has no request around it, and a column its canonical name.
        own = {**{name: column for column, name in Intake().changed(INTAKE).names.items()}}
        own |= {name: f"intake.{name}" for name in ("date_format", "speed")}
        return 422, {"field": own.get(str(error.field), error.field), "detail": str(error)}
    return 200, {}


def create(http, table, intake, **_):
    return post(http, "/factor-model/create", model_id="made", feature_data=table, intake=intake)


def settings_of_create(http, table, intake, **_):
    return post(http, "/factor-model/create", model_id="made", feature_data=table, settings={"intake": intake})


def as_csv(table):
    sink = io.StringIO()
    lines = csv.writer(sink, lineterminator="\n")
    lines.writerow(table)
    lines.writerows(zip(*table.values(), strict=True))
    return sink.getvalue().encode()


def bulk(http, table, intake, **_):
    answer = http.put(
        "/factor-model/made/data", content=as_csv(table), params={"intake": json.dumps(intake)},
        headers={"content-type": CSV},
    )  # fmt: skip
    return answer.status_code, answer.json()


def append(http, table, intake, model, **_):
    return post(http, f"/factor-model/{model}/append", feature_data=table, intake=intake)


def correct(http, table, intake, model, **_):
    return post(http, f"/factor-model/{model}/correct", feature_data=table, intake=intake)


def styles(http, table, intake, **_):
    return post(http, "/style-factors/calculate", returns_data=table, intake=intake)


def momentum(http, table, intake, **_):
    return post(http, "/individual-factors/momentum", returns_data=table, intake=intake)


def estimate(http, table, intake, **_):
    names = table["Ticker"]
    keys = {"Day": table["Day"], "Ticker": names}
    odd = [0 if name is None else int(name[1:]) % 2 for name in names]
    frames = {
        "returns_df": {name: values for name, values in table.items() if name not in ("cap", "sector")},
        "market_cap_df": {**keys, "cap": table["cap"]},
        "sector_df": {**keys, "Energy": [1 - one for one in odd], "Utilities": odd},
        "style_df": {**keys, "mom_score": [float(i % 5) for i in range(len(names))]},
    }
    return post(http, "/factor-returns/estimate", **frames, intake=intake)


def face_answer(services, request):
    try:
        return 200, asyncio.run(services.face.answer(OPERATIONS["append_day"], request))
    except EngineError as error:
        return error.status, error.to_problem()


def bar(_, table, intake, model, services, **__):
    """As the bridge takes one from market_data.bar.*."""
    reader = Reader(services.settings)

    async def read():
        return await reader.bar(orjson.dumps({"model_id": model, "rows": table, "intake": intake}), None)

    try:
        return face_answer(services, asyncio.run(read()))
    except EngineError as error:
        return error.status, error.to_problem()


def client(_, table, intake, services, **__):
    """By the typed client, whose request is checked in the caller's process first."""

    async def ask():
        transport = httpx.ASGITransport(make_app(services))
        async with HttpEngine(CLIENT, transport=transport) as engine:
            await engine.style_factors(StyleFactors(returns_data=table, intake=intake))

    try:
        asyncio.run(ask())
    except EngineError as error:
        return error.status, error.to_problem()
    return 200, {}


WAYS = {
    way.__name__: way
    for way in (library, create, settings_of_create, bulk, append, correct, styles, momentum, estimate, bar, client)
}
OF_MODELS = ("append", "correct", "bar")
"""What gets days of a model, read here as that day is written whatever the model's own days were."""


@pytest.fixture(scope="module")
def model(http):
    """A model of ISO days and the usual names: what its later tables are called, they say themselves."""
    table = market(DAYS[:-1])
    plain = table.with_columns(pl.col("Day").str.to_date("%m/%d/%Y").cast(pl.String)).rename(
        {"Day": "date", "Ticker": "symbol", "ret": "asset_returns", "cap": "market_cap"}
    )
    made = http.post("/factor-model/create", json={"model_id": "own", "feature_data": columns(plain)})
    assert made.status_code == 200, made.text
    return "own"


def own_names(sentence):
    for own, name in (("Ticker", "symbol"), ("Day", "date"), ("ret", "returns")):
        sentence = sentence.replace(f"'{name}'", f"'{own}'")
    return sentence


def table_for(way):
    return market({"append": DAYS[-1:], "bar": DAYS[-1:], "correct": DAYS[-4:-1]}.get(way, DAYS))


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("way", list(WAYS))
def test_a_fault_is_the_same_error_by_every_way_in(http, services, model, way, fault):
    intake, change, field, words = FAULTS[fault]
    table = change(table_for(way))
    if fault == "a column that is not there" and way == "correct":
        pytest.skip("a correction leaves the columns that its table lacks as they are")
    _, told = library(http, table, intake)
    status, problem = WAYS[way](http, table, intake, model=model, services=services)
    assert status == 422, problem
    assert problem["field"].endswith(field)
    assert words in problem["detail"]
    # The sentence is the library's, under the caller's own names; the rows that follow are of his own table.
    assert own_names(told["detail"].split(" (rows")[0]) in own_names(problem["detail"])


@pytest.mark.parametrize("way", [way for way in WAYS if way not in OF_MODELS])
def test_with_its_settings_the_table_is_read_by_every_way_in(http, services, model, way):
    table = text_in("ret", 3, "NA")(table_for(way))
    status, answer = WAYS[way](http, table, {**INTAKE, "na_values": ["NA"]}, model=model, services=services)
    assert status == 200, answer


def test_days_of_a_model_are_read_as_the_request_says_and_the_next_as_the_model_does(http, services, model):
    intake = {**INTAKE, "na_values": ["NA"]}
    assert correct(http, text_in("ret", 3, "NA")(market(DAYS[-4:-1])), intake, model=model)[0] == 200
    refused = append(http, columns(market(DAYS[-1:])), {**intake, "adjust": "none"}, model=model)
    assert (refused[0], refused[1]["field"]) == (422, "intake.adjust")
    status, made = bar(http, columns(market(DAYS[-1:])), intake, model=model, services=services)
    assert status == 200, made
    # What the request said is not kept: the model's own days are ISO ones.
    status, told = append(http, columns(market(DAYS[-1:])), {}, model=model)
    assert (status, told["field"]) == (422, "feature_data.date")


def test_what_looks_wrong_in_a_posted_table_is_told_as_the_policy_says(http):
    table = values("ret", lambda c: c.abs() * 1000 + 1)(market())
    for path in ("/style-factors/calculate", "/individual-factors/momentum"):
        told = {
            policy: post(http, path, returns_data=table, intake={**INTAKE, "policy": policy})[1]["calculation_result"]
            for policy in ("warn", "off")
        }
        assert any("returns look like percent" in line for line in told["warn"]["warnings"])
        assert told["off"]["warnings"] == []
        assert told["warn"]["factor_values"] == told["off"]["factor_values"]


def test_over_the_bus_and_by_its_client_a_table_is_read_as_over_http(services, engine_here, nats_server):
    async def run():
        face_before = engine_here.table.default_model
        async with bridge_over(nats_server, engine_here), peer_of(nats_server) as nc:

            async def ask(subject, **body):
                return orjson.loads((await nc.request(subject, orjson.dumps(body), timeout=30)).data)

            for intake, change, field, words in FAULTS.values():
                told = await ask("toraniko.model_request.style_factors", returns_data=change(market()), intake=intake)
                assert told["field"].endswith(field), told
                assert words in told["detail"]
            async with NatsEngine(nats_server.access) as engine:
                table = text_in("ret", 3, "NA")(market())
                intake = {**INTAKE, "na_values": ["NA"]}
                await engine.create_model(CreateModel(model_id="nats", feature_data=table, intake=intake))
                rows = columns(market(DAYS[:1]).with_columns(pl.col("ret") + 0.001))
                fixed = await engine.correct_days(CorrectDays(model_id="nats", feature_data=rows))
                assert fixed.calculation_result.factor_values["history_changed_from"] == DAYS[0]
        engine_here.table.default_model = face_before

    asyncio.run(run())


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "returns in percent, and strict"])
def test_a_file_of_the_operator_has_the_same_faults(tmp_path, fault):
    intake, change, _, words = FAULTS[fault]
    (tmp_path / "data.csv").write_bytes(as_csv(change(market())))
    lines = [f"{name} = {json.dumps(value)}" for name, value in intake.items()]
    (tmp_path / "model.toml").write_text("[intake]\n" + "\n".join(lines))
    try:
        taken = data_market(tmp_path / "data.csv", tmp_path, settings=tmp_path / "model.toml")
    except StartError as error:
        told = str(error)
    else:
        # What only the model's door can see is refused there, by the request that loads the market.
        frame = pl.read_ipc_stream(taken.path)
        with pytest.raises(FactorError) as refused:
            Panel.from_frame(frame, intake=Intake().changed(intake))
        told = str(refused.value)
    assert ("lacks ret" if fault == "a column that is not there" else words) in told
