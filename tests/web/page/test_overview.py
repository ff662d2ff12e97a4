"""The shell and the overview in a real browser."""

import re

import pytest


def test_the_overview_shows_the_models_and_every_actor_with_the_age_of_its_figures(tab):
    from contracts.operations import Workload

    page = tab.open("overview")
    tab.panel("Models").get_by_role("cell", name="m", exact=True).wait_for()
    page.locator("header.top").get_by_text(re.compile("healthy|starting")).first.wait_for()
    tab.panel("Actors").locator("table").wait_for()
    actors = tab.panel("Actors").first.inner_text()
    assert all(workload.value.replace("_", " ") in actors for workload in Workload)
    assert re.search(r"asked (now|\d+ s ago)", tab.panel("Actors").inner_text())
    assert page.title() == "Overview · Factor Engine"


def test_an_engine_that_went_away_is_told_from_one_that_has_nothing(prefix, tab):
    tab.url = prefix.url
    page = tab.open("overview")
    tab.panel("Actors").locator("table").wait_for()
    prefix.stop()
    try:
        page.get_by_role("alert").filter(has_text="Not reached").first.wait_for()
        assert "nobody answers at" in page.get_by_role("alert").first.inner_text()
        # What was there stays, and says how old it is.
        assert "factor library" in tab.panel("Actors").inner_text()
    finally:
        prefix.start()
    page.get_by_role("alert").filter(has_text="Not reached").first.wait_for(state="detached")
    # The browser itself writes a line for each request that nobody took.
    tab.expect("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY")


def test_the_keyboard_goes_from_view_to_view_and_back(tab):
    page = tab.open("overview")
    tab.panel("Actors").first.wait_for()
    page.keyboard.press("2")
    page.locator("nav a[aria-current=page]", has_text="Book").wait_for()
    page.go_back()
    page.locator("nav a[aria-current=page]", has_text="Overview").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_a_narrow_window_is_not_wider_than_itself(tab):
    tab.page.set_viewport_size({"width": 375, "height": 700})
    for view in ("overview", "book", "market", "library", "live", "operations"):
        tab.open(f"{view}?book=equal")
        tab.page.locator("main h2").wait_for()
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 375, view


def test_a_token_is_kept_in_the_tab_and_goes_with_each_request(tab):
    page = tab.open("overview")
    tab.panel("Actors").first.wait_for()
    page.get_by_role("button", name=re.compile("Access")).click()
    page.get_by_role("textbox", name="Token").fill("a-secret")
    with page.expect_request(lambda request: request.headers.get("authorization") == "Bearer a-secret"):
        page.get_by_role("button", name="Keep").click()
    assert page.evaluate("sessionStorage.getItem('factor-engine-token')") == "a-secret"
    assert page.evaluate("localStorage.length") == 0
    assert "a-secret" not in page.url


def test_an_unknown_view_says_so(tab):
    tab.open("nowhere").get_by_text("There is no view called nowhere").wait_for()


def test_a_tab_that_nobody_sees_asks_nothing_until_it_is_seen_again(tab):
    page = tab.page
    page.clock.install()
    page.add_init_script(
        "window.asks = 0; const real = window.fetch;"
        "window.fetch = (...of) => { window.asks += 1; return real(...of); };"
        "Object.defineProperty(document, 'hidden', {get: () => window.unseen === true});"
    )
    tab.open("overview")
    tab.panel("Actors").locator("table").wait_for()
    with page.expect_request(lambda request: request.url.endswith("/health")):
        page.clock.run_for(6_000)  # a tab that is seen asks again
    page.evaluate("window.unseen = true")
    page.clock.run_for(60_000)
    before = page.evaluate("window.asks")
    page.clock.run_for(60_000)
    assert page.evaluate("window.asks") == before
    with page.expect_request(lambda request: request.url.endswith("/health")):
        page.evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.parametrize("status", [200, 502])
def test_what_a_proxy_says_by_itself_is_not_taken_for_an_answer(tab, status):
    page = tab.page
    proxy = {"status": status, "content_type": "text/html", "body": "<html><b>log in</b></html>"}
    page.route("**/health", lambda route: route.fulfill(**proxy))
    tab.open("overview")
    told = tab.panel("Models").get_by_role("alert")
    told.wait_for()
    words = (
        f"{'proxy' if status == 200 else 'Not reached'}: HTTP {status} from a proxy, not from the engine (text/html)."
    )
    assert words in told.inner_text()
    assert "log in" not in page.locator("body").inner_text()
    # An absent engine passes; a proxy that wants something does not.
    assert ("It is asked again by itself." in told.inner_text()) == (status == 502)
    page.unroute("**/health")
    tab.panel("Models").get_by_role("cell", name="m", exact=True).wait_for()
    tab.expect("502")


def test_a_view_that_could_not_be_fetched_is_fetched_again(tab):
    page = tab.page
    page.route("**/market.js", lambda route: route.abort())
    tab.open("market")
    told = page.get_by_role("alert").filter(has_text="Failed to fetch")
    told.wait_for()
    page.unroute("**/market.js")
    told.get_by_role("button", name="Ask again").click()
    tab.panel("Factor volatilities").wait_for()
    assert told.count() == 0
    tab.expect("ERR_FAILED")


def test_a_long_name_of_a_model_is_not_wider_than_the_window(tab):
    page, name = tab.page, "m" * 128

    def named(route):
        answer = route.fetch()
        body = answer.json()
        body |= {"models": [{**body["models"][0], "model_id": name}], "default_model": name}
        route.fulfill(response=answer, json=body)

    page.route("**/factor-engine/status", named)
    page.set_viewport_size({"width": 375, "height": 700})
    for view in ("overview", "operations"):
        tab.open(view)
        page.locator("header.top select").wait_for()
        page.locator("main h2").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, view
    tab.expect("404")


def test_a_figure_that_is_missing_is_a_dash_and_breaks_no_view(tab):
    page = tab.page

    def missing(*names):
        def change(route):
            answer = route.fetch()
            body = answer.json()
            held = body.get("calculation_result", {}).get("factor_values", body)
            held |= dict.fromkeys(names)
            route.fulfill(response=answer, json=body)

        return change

    page.route("**/performance-metrics", missing("throughput_per_s", "success_rate"))
    tab.open("operations")
    figures = tab.panel("Latencies").locator("dl.figures")
    assert figures.locator("div", has_text="A second").locator("dd").inner_text() == "\u2013"
    page.route("**/portfolio-risk/calculate", missing("percent_specific"))
    tab.open("book?book=equal")
    figures = tab.panel("Risk").locator("dl.figures")
    assert figures.locator("div", has_text="From factors").locator("dd").inner_text() == "\u2013"
