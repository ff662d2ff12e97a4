"""What changes while it is looked at: a live value, a lost connection, a deleted model, a token."""

import dataclasses
import re

import orjson
import pytest

from contracts import frames
from contracts.tokens import Scope, add_token


class Watched:
    """A bridge whose watch has a new value each time it is asked."""

    def __init__(self, bridge):
        self._bridge = bridge
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self._bridge, name)

    async def watch_value(self, watch_id, number, wait_s):
        import asyncio

        await asyncio.sleep(0.05)
        self.asked += 1
        body = {
            "watch_id": watch_id,
            "sequence": self.asked,
            "market_time": "2026-01-02T15:00:00Z",
            "compute_ms": 1.5,
            "seen": 0.5,
            "symbols": ["A", "B"],
            "values": {"specific_return": [0.01, -0.02]},
            "factor_returns": {"market": 0.0001 * self.asked, "size": -0.001},
            "market_return": 0.001,
        }
        return {"number": number + 1, "body": orjson.dumps(body), "headers": {"Content-Type": "application/json"}}


@pytest.fixture
def watch(http, services):
    answer = http.put("/watches/desk", json={"model_id": "m", "factor_returns": True})
    assert answer.status_code == 200, answer.text
    kept, services.bridge = services.bridge, Watched(services.bridge)
    yield services.bridge
    services.bridge = kept
    http.delete("/watches/desk")


def message(tab):
    return int(tab.panel("Connection").locator("dl.figures div", has_text="Message").locator("dd").inner_text())


def test_values_move_and_a_dropped_connection_comes_back(prefix, tab, watch):
    expect = pytest.importorskip("playwright.sync_api").expect
    tab.url = prefix.url  # also shows that the page and its websocket work behind a prefix
    page = tab.open("live?watch=desk")
    page.locator("[data-state=open]").wait_for()
    movers = tab.panel("Top movers")
    movers.locator("table").wait_for()
    assert movers.locator("tbody tr").all_inner_texts() == ["A\t+1.00 %", "B\t-2.00 %"]
    tab.panel("As they moved").locator("canvas").wait_for()
    before = message(tab)
    prefix.stop()
    try:
        page.locator("[data-state=lost]").wait_for()
        assert message(tab) >= before
    finally:
        prefix.start()
    page.locator("[data-state=open]").wait_for()
    shown = tab.panel("Connection").locator("dl.figures div", has_text="Message").locator("dd")
    expect(shown).not_to_have_text(str(message(tab)))
    assert all(re.search("ERR_CONNECTION|WebSocket|ERR_EMPTY", line) for line in tab.errors)
    tab.errors.clear()


def test_a_model_that_is_deleted_while_it_is_looked_at_is_told(tab, http, sample):
    body = frames.encode(sample)
    assert (
        http.put("/factor-model/fleeting/data", content=body, headers={"content-type": frames.ARROW_STREAM}).status_code
        == 200
    )
    page = tab.open("market?model=fleeting")
    tab.panel("Factor volatilities").locator("svg.bars").wait_for()
    assert http.delete("/factor-model/fleeting").status_code == 200
    told = page.get_by_role("alert").filter(has_text="Model fleeting is not there")
    told.wait_for()
    told.get_by_role("button", name="Show the default model").click()
    told.wait_for(state="detached")
    assert "fleeting" not in page.url
    tab.errors.clear()  # the browser's own lines about answers of 404


@pytest.mark.parametrize(("scope", "changes"), [(Scope.READ, False), (Scope.WRITE, True)])
def test_only_a_token_that_may_write_shows_what_changes_things(
    chromium, http, services, tmp_path, serve, scope, changes
):
    closed = services.settings.model_copy(update={"token_file": tmp_path / "tokens.json"})
    secret = add_token(tmp_path / "tokens.json", "reader", scope)
    page = chromium.new_page()
    try:
        page.goto(f"{serve(dataclasses.replace(services, settings=closed)).url}#/operations")
        page.get_by_role("alert").filter(has_text="unauthenticated").first.wait_for()
        page.get_by_role("button", name=re.compile("Access")).click()
        page.get_by_role("textbox", name="Token").fill(secret)
        page.get_by_role("button", name="Keep").click()
        page.get_by_role("button", name=f"Access: {'may change' if changes else 'read only'}").wait_for()
        page.get_by_role("region", name="Model m").locator("dl.figures").wait_for()
        assert page.get_by_role("button", name="Delete this model").count() == int(changes)
    finally:
        page.close()
