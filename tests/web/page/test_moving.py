"""What changes while it is looked at: a live value, a lost connection, a deleted model, a token."""

import dataclasses
import re

import orjson
import pytest

from contracts import frames
from contracts.tokens import Scope, add_token
from tests.web.page.conftest import until

BOOK = {
    "return": 0.012, "return_by_factor": {"market": 0.01, "size": -0.003, "value": 0.001}, "specific_return": 0.0035,
    "unexplained_return": 0.0005, "unseen_weight": 0.25, "risk": 0.0111, "risk_before": 0.0108, "unknown_weight": 0.0,
}  # fmt: skip


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
            "factor_returns": {"market": 0.0001 * (self.asked % 90), "size": -0.001, "value": 0.01},
            "portfolios": {"equal": {**BOOK, "return": 0.011 - 0.001 * (self.asked % 9)}},
            "market_return": 0.001,
        }
        return {"number": number + 1, "body": orjson.dumps(body), "headers": {"Content-Type": "application/json"}}


@pytest.fixture
def watch(http, services, request):
    answer = http.put("/watches/desk", json={"model_id": "m", "factor_returns": True})
    assert answer.status_code == 200, answer.text
    kept, services.bridge = services.bridge, getattr(request, "param", Watched)(services.bridge)
    yield services.bridge
    services.bridge = kept
    http.delete("/watches/desk")


class Turning(Watched):
    """A bridge whose watch has twelve styles; which of them moved most is another question with each value."""

    async def watch_value(self, watch_id, number, wait_s):
        got = await super().watch_value(watch_id, number, wait_s)
        body = orjson.loads(got["body"])
        turn = self.asked // 10
        returns = {f"style{n}": 0.001 * ((n + 5 * turn) % 12 + 1) for n in range(12)}
        return {**got, "body": orjson.dumps({**body, "factor_returns": {"market": 0.0001, **returns}})}


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
    # The rows stand where the model's axis has them, however large they are.
    rows = tab.panel("Factor returns so far").locator("svg text:not(.v)")
    assert rows.all_text_contents() == ["market", "size", "value"]
    book = tab.panel("Book equal so far")
    assert book.locator("svg text:not(.v)").all_text_contents() == [
        "market", "size", "value", "specific", "not explained", "return",
    ]  # fmt: skip
    assert "1.110 %" in book.inner_text()
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
    tab.expect("ERR_CONNECTION|WebSocket|ERR_EMPTY")


# Counts what is written into the document, by the panel and by what the place is; and when the count began.
COUNT = """() => {
  window.written = {};
  window.began = performance.now();
  const note = ({target, attributeName}) => {
    const node = target.nodeType === 1 ? target : target.parentElement;
    const panel = node?.closest('[role=region], section')?.getAttribute('aria-label');
    const row = node?.closest('g, dl div')?.querySelector('text, dt')?.textContent;
    const key = `${panel}: ${node?.closest('.age') ? 'age' : row ?? (attributeName || node?.tagName)}`;
    window.written[key] = (window.written[key] ?? 0) + 1;
  };
  const everything = {subtree: true, childList: true, attributes: true, characterData: true};
  new MutationObserver((changes) => changes.forEach(note)).observe(document.getElementById('main'), everything);
}"""


def test_a_live_view_draws_at_a_pace_of_its_own_and_writes_only_what_changed(tab, watch):
    page = tab.open("live?watch=desk")
    tab.panel("Top movers").locator("table").wait_for()
    tab.panel("As they moved").locator("canvas").wait_for()
    page.evaluate(COUNT)
    first = watch.asked
    until(lambda: watch.asked > first + 60)
    written, elapsed_ms = page.evaluate("[window.written, performance.now() - window.began]")
    # A bound from above, so a slow machine only draws less. Draws are no less than 330 ms apart; the first may have
    # begun before the count did.
    assert 1 <= written["Connection: Message"] <= elapsed_ms / 330 + 2
    assert written.get("As they moved: aria-label", 0) <= elapsed_ms / 1000 + 2
    # What stayed as it was is not written again: rows of other factors, names, choices, rows of the movers.
    moved = {key for key in written if not key.endswith(": age") and not key.startswith(("Watches", "Running day"))}
    may = {
        "Connection: Message", "Factor returns so far: market", "Factor returns so far: aria-label",
        "Book equal so far: Return so far", "Book equal so far: return", "Book equal so far: aria-label",
    }  # fmt: skip
    assert {key for key in moved if not key.startswith("As they moved")} <= may
    per_draw = sum(n for key, n in written.items() if key in moved) / written["Connection: Message"]
    assert per_draw <= 40, written


def test_nothing_is_drawn_in_a_tab_that_nobody_sees_and_the_newest_when_it_is_seen_again(tab, watch):
    tab.page.add_init_script("Object.defineProperty(document, 'hidden', {get: () => window.away === true})")
    page = tab.open("live?watch=desk")
    tab.panel("Top movers").locator("table").wait_for()
    page.evaluate("() => { window.away = true; }")
    page.evaluate(COUNT)
    first = watch.asked
    until(lambda: watch.asked > first + 20)
    assert [key for key in page.evaluate("window.written") if key.startswith("Connection")] == []
    page.evaluate("() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }")
    until(lambda: message(tab) > first + 10)
    said = tab.panel("As they moved").locator("figcaption")
    until(lambda: int(re.search(r"last (\d+) values", said.inner_text())[1]) > 15)


# The clock by which the lines are chosen, put forward by the test; and how many plots were made.
LATER = """
window.later = 0; window.plots = 0;
const now = Date.now.bind(Date);
Date.now = () => now() + window.later;
let made;
Object.defineProperty(window, 'uPlot', {get: () => made, set: (Plot) => {
  made = new Proxy(Plot, {construct: (of, given) => { window.plots += 1; return Reflect.construct(of, given); }});
}});
"""


@pytest.mark.parametrize("watch", [Turning], indirect=True)
def test_lines_that_are_chosen_anew_leave_nothing_of_the_old_ones_in_memory(tab, watch):
    tab.page.add_init_script(LATER)
    page = tab.open("live?watch=desk")
    figure = tab.panel("As they moved")
    figure.locator("canvas").wait_for()
    wire = page.context.new_cdp_session(page)
    wire.send("Performance.enable")

    def living(prototype, which):
        # To ask for the objects of a prototype collects what is garbage first.
        of = wire.send("Runtime.evaluate", {"expression": f"{prototype}.prototype"})["result"]["objectId"]
        them = wire.send("Runtime.queryObjects", {"prototypeObjectId": of})["objects"]["objectId"]
        asked = {"objectId": them, "functionDeclaration": f"function () {{ return this.filter({which}).length; }}"}
        n = wire.send("Runtime.callFunctionOn", {**asked, "returnByValue": True})["result"]["value"]
        wire.send("Runtime.releaseObject", {"objectId": them})  # or the list of them would keep them
        return n

    def counts():
        plots = living("HTMLDivElement", "(node) => node.matches('.uplot')")
        metrics = {row["name"]: row["value"] for row in wire.send("Performance.getMetrics")["metrics"]}
        values = living("Object", "(one) => 'market_time' in one && Array.isArray(one.symbols)")
        return plots, metrics["JSEventListeners"], values

    def chosen():
        return figure.locator(".u-legend .u-label").all_inner_texts()

    seen = []
    for _ in range(20):
        before = chosen()
        page.evaluate("() => { window.later += 20_000; }")
        until(lambda before=before: chosen() != before)
        seen.append(counts())
    # Where a plot is made for each choice, the browser keeps one that is gone now and then: it cannot be had at will.
    assert page.evaluate("window.plots") == 1
    assert {plots for plots, _, _ in seen} == {1}
    assert len({listeners for _, listeners, _ in seen[2:]}) == 1, seen
    # The newest value, one that is being read, and those that the four parts were last drawn with.
    assert max(values for _, _, values in seen) <= 6, seen
    assert chosen()[:2] == ["Time", "market"]
    assert len(chosen()) == 7
    # The width follows the window's.
    width = figure.locator("canvas").bounding_box()["width"]
    page.set_viewport_size({"width": 500, "height": 900})
    until(lambda: figure.locator("canvas").bounding_box()["width"] < width)
    assert page.evaluate("window.plots") == 1


def test_lines_follow_dark_and_light(tab):
    page = tab.page
    page.emulate_media(color_scheme="light")
    tab.open("market?model=m")
    lines = tab.panel("Drawdown").locator("canvas")
    lines.wait_for()

    def drawn():
        return lines.evaluate("(canvas) => canvas.toDataURL()")

    light = drawn()
    page.emulate_media(color_scheme="dark")
    until(lambda: drawn() != light)
    page.emulate_media(color_scheme="light")
    until(lambda: drawn() == light)


def test_a_picture_below_the_fold_is_drawn_when_it_comes_into_sight(tab, watch):
    tab.page.set_viewport_size({"width": 500, "height": 400})
    page = tab.open("live?watch=desk")
    book = tab.panel("Book equal so far")
    book.locator("svg").wait_for()
    page.evaluate(COUNT)
    first = message(tab)
    until(lambda: message(tab) > first + 20)
    assert "Book equal so far: return" not in page.evaluate("window.written")
    book.scroll_into_view_if_needed()
    until(lambda: page.evaluate("window.written['Book equal so far: return'] ?? 0") > 2)


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
    tab.expect("404")


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
