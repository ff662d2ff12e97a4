"""Stored books over HTTP and NATS: written, read, and taken by name wherever weights are taken."""

import asyncio

import pytest
from fixtures_nats import bridge_over

from clients.nats import NatsEngine
from clients.surface import How
from contracts import portfolio_requests as pq
from contracts.errors import EngineError, InvalidInput
from contracts.examples import with_names
from contracts.operations import OPERATIONS

BOOK = "desk-1"
TAKING = sorted(name for name, row in OPERATIONS.items() if "portfolio_weights" in row.request.model_fields)
WAIT = How(timeout_s=60.0)


def test_what_takes_weights_is_known():
    """A new operation that takes weights is asked by name below without a line here."""
    assert {
        "factor_exposures", "portfolio_risk", "risk_history", "portfolio_attribution", "margin", "stress", "what_if",
        "hedge", "optimize", "frontier", "rebalance",
    } <= set(TAKING)  # fmt: skip


@pytest.fixture(scope="module")
def weights(symbols):
    return {symbols[0]: 0.5, symbols[1]: 0.6, symbols[2]: -0.2, "EUR": 0.1}


@pytest.fixture(scope="module")
def stored(http, sample, weights):
    first = str(sample["date"].min())
    answer = http.put(f"/portfolios/{BOOK}", json={"holdings": {first: weights}, "description": "long and short"})
    assert answer.status_code == 200, answer.text
    yield weights
    assert http.delete(f"/portfolios/{BOOK}").status_code == 200


def body_of(name, symbols):
    example = {key: value for key, value in OPERATIONS[name].example.items() if key != "portfolio_weights"}
    body = with_names(example, symbols)
    # What is held now may be short and in money; what is looked for is not held to that.
    return body | ({"position": [-1.0, 1.0]} if "position" in body else {})


def figures(answer):
    result = answer["calculation_result"]
    return result.get("factor_values") or result["factor_exposures"]


@pytest.mark.parametrize("name", TAKING)
def test_a_book_by_name_is_the_book_by_its_weights_over_http_and_nats(
    http, stored, symbols, nats_server, engine_here, name
):
    body, row = body_of(name, symbols), OPERATIONS[name]
    path = next(route.path for route in row.routes if route.method == "POST")
    by_weights, by_name = (
        http.post(path, json={**body, **given}) for given in ({"portfolio_weights": stored}, {"portfolio_id": BOOK})
    )
    assert (by_weights.status_code, by_name.status_code) == (200, 200), (by_weights.text, by_name.text)
    assert figures(by_name.json()) == figures(by_weights.json())
    assert by_name.json()["calculation_result"]["portfolio_version"] == 1

    async def over_nats():
        async with bridge_over(nats_server, engine_here), NatsEngine.of_run(nats_server.run_dir) as engine:
            asked = row.request.model_validate({"model_id": "m", **body, "portfolio_id": BOOK})
            return await getattr(engine, name)(asked, WAIT)

    answer = asyncio.run(over_nats()).model_dump(mode="json")
    assert figures(answer) == figures(by_name.json())


@pytest.mark.parametrize("date", ["2024-13-02", "2024-02-30", "02/01/2024", "20240102", "2024-01-02T00:00", ""])
def test_holdings_of_what_is_no_date_are_refused_by_their_date_and_store_nothing(http, symbols, date):
    body = {"holdings": {"2024-01-02": {symbols[0]: 1.0}, date: {symbols[0]: 1.0}}}
    answer = http.put("/portfolios/undated", json=body)
    told = answer.json()
    assert (answer.status_code, told["field"], told["rows"]) == (422, "holdings", [date]), told
    assert http.get("/portfolios/undated").status_code == 404


def test_a_book_is_written_added_to_shown_listed_and_deleted_over_nats(http, symbols, nats_server, engine_here):
    one, two = {symbols[0]: 0.5, "USD": 0.5}, {symbols[1]: 1.0}

    async def over_nats():
        async with bridge_over(nats_server, engine_here), NatsEngine.of_run(nats_server.run_dir) as engine:
            made = await engine.put_portfolio(pq.PutPortfolio(portfolio_id="n", holdings={"2015-01-02": one}), WAIT)
            assert made.calculation_result.factor_values["portfolio_version"] == 1
            later = pq.AppendPortfolio(portfolio_id="n", holdings={"2015-02-02": two})
            assert (await engine.append_portfolio(later, WAIT)).calculation_result.factor_values["n_dates"] == 2
            with pytest.raises(InvalidInput, match="must come after 2015-02-02"):
                await engine.append_portfolio(later, How(timeout_s=60.0, request_id="again"))
            shown = await engine.get_portfolio(pq.PortfolioRef(portfolio_id="n"), WAIT)
            listed = await engine.list_portfolios(pq.ListPortfolios(), WAIT)
            return shown.model_dump(mode="json"), listed.model_dump(mode="json")

    shown, listed = asyncio.run(over_nats())
    assert shown["holdings"] == {"2015-01-02": one, "2015-02-02": two}
    assert "n" in [row["portfolio_id"] for row in listed["portfolios"]]
    assert http.get("/portfolios/n").json()["holdings"] == shown["holdings"]

    async def delete():
        async with bridge_over(nats_server, engine_here), NatsEngine.of_run(nats_server.run_dir) as engine:
            await engine.delete_portfolio(pq.DeletePortfolio(portfolio_id="n"), WAIT)
            with pytest.raises(EngineError, match="was deleted"):
                await engine.get_portfolio(pq.PortfolioRef(portfolio_id="n"), WAIT)

    asyncio.run(delete())


def test_a_circle_of_books_and_a_tower_of_them_are_refused_by_every_way(http, symbols):
    for number in range(10):
        inner = {f"portfolio:tower-{number + 1}": 1.0} if number < 9 else {symbols[0]: 1.0}
        assert http.put(f"/portfolios/tower-{number}", json={"holdings": {"always": inner}}).status_code == 200
    for path, more in (
        ("/portfolio-risk/calculate", {}),
        ("/portfolio-risk/history", {}),
        ("/portfolio-attribution/calculate", {}),
        ("/portfolio/hedge", {"instruments": [symbols[1]]}),
    ):
        refused = http.post(path, json={"portfolio_id": "tower-0", **more}).json()
        assert "too deep: tower-0 -> tower-1" in refused["detail"], refused
        assert http.post(path, json={"portfolio_id": "tower-2", **more}).status_code == 200, path
    circle = {"holdings": {"always": {"portfolio:tower-0": 0.5, symbols[0]: 0.5}}}
    assert http.put("/portfolios/tower-3", json=circle).status_code == 200
    for path in ("/portfolio-risk/calculate", "/portfolio-risk/history", "/portfolio-attribution/calculate"):
        answer = http.post(path, json={"portfolio_id": "tower-3"})
        assert answer.status_code == 422
        assert "holds itself" in answer.json()["detail"]
    for number in range(10):
        http.delete(f"/portfolios/tower-{number}")
