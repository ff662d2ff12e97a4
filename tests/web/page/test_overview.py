"""The shell and the overview in a real browser."""

import re


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
    assert all(
        "ERR_CONNECTION_REFUSED" in line or "ERR_CONNECTION_RESET" in line or "ERR_EMPTY" in line for line in tab.errors
    )
    tab.errors.clear()


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
