"""Each view in a real browser, on the model `m` with the real actors behind it."""

import csv
import json
import re
from urllib.parse import unquote

import pytest
from docs_blocks import block

BENCHMARKED = "book?book=equal&benchmark=market"


def answer_to(tab, path, view):
    """Open a view and give what the engine answered it on a route."""
    with tab.page.expect_response(lambda response: response.url.endswith(path)) as held:
        tab.open(view)
    return held.value.json()["calculation_result"]


def shown(figure, label):
    """Read one of the key figures of a panel."""
    return figure.locator("dl.figures div", has_text=label).locator("dd").first.inner_text()


def drawn(figure, bars):
    """Wait until so many bars are drawn, which is after the width is known, and say that there are no more."""
    figure.locator("svg g").nth(bars - 1).wait_for()
    return figure.locator("svg g").count() == bars


def saved(tab, panel, button, folder):
    """Press a button that saves a file, and give the file."""
    with tab.page.expect_download() as held:
        tab.panel(panel).get_by_role("button", name=button, exact=True).click()
    path = folder / held.value.suggested_filename
    held.value.save_as(path)
    return path


def test_the_book_shows_the_risk_that_the_engine_computed(tab):
    risk = answer_to(tab, "/portfolio-risk/calculate", BENCHMARKED)["factor_values"]
    panel = tab.panel("Risk")
    panel.locator("dl.figures").wait_for()
    assert shown(panel, "Volatility a year") == f"{100 * risk['total_risk_annual']:.2f} %"
    assert shown(panel, "Active risk a year") == f"{100 * risk['active']['active_risk_annual']:.2f} %"
    # Beside a benchmark the engine's tails are of the difference from it, and the page must not call them the book's.
    assert shown(panel, "Value at risk, a day, 99 %") == f"{100 * risk['value_at_risk']:.2f} %"
    assert shown(panel, "Active value at risk, a day, 99 %") == f"{100 * risk['active']['value_at_risk']:.2f} %"
    assert (
        shown(panel, "Active expected shortfall, a day, 99 %") == f"{100 * risk['active']['expected_shortfall']:.2f} %"
    )
    exposures = tab.panel("Exposures")
    exposures.locator("svg.bars").wait_for()
    assert "momentum" in exposures.inner_text()
    assert exposures.locator("svg line.mark").count() == exposures.locator("svg g").count() > 3


def test_risk_is_drilled_from_family_to_factor_to_name_and_the_address_holds_how_deep(tab, symbols):
    weights = ";".join(f"{symbol},0.25" for symbol in symbols)
    page = tab.open(f"book?weights={weights}")
    sources = tab.panel("Sources of risk")
    sources.get_by_role("button", name=re.compile("^styles")).click()
    sources.get_by_role("button", name=re.compile("^size")).click()
    sources.get_by_text("Weight times own exposure").wait_for()
    assert drawn(sources, len(symbols))
    assert "drill=size" in page.url
    page.go_back()
    sources.get_by_role("button", name=re.compile("^momentum")).wait_for()


def test_predicted_and_realised_stand_beside_each_other(tab):
    history = answer_to(tab, "/portfolio-risk/history", BENCHMARKED)["factor_values"]
    panel = tab.panel("Predicted against realised")
    panel.locator("canvas").wait_for()
    assert shown(panel, "Bias") == f"{history['bias']:.3f}"


def test_a_slider_shocks_a_factor_and_the_address_holds_it(tab):
    page = tab.open("book?book=equal")
    slider = page.get_by_label("market", exact=True)
    slider.wait_for()
    with page.expect_response(
        lambda response: response.url.endswith("/risk/stress") and "-0.1" in response.request.post_data
    ) as held:
        slider.fill("-0.1")
    made = held.value.json()["calculation_result"]["factor_values"]["sliders"]["return"]
    tab.panel("Stress").get_by_text(f"{100 * made:.2f} %").first.wait_for()
    assert "shock=market" in page.url
    assert made < 0


# Of each view what is waited for: panels with a picture, a table or figures in them.
ON_REAL_DATA = {
    "overview": {"Models": "table", "Store": "dl.figures"},
    "book?book=equal&benchmark=market": {
        "Risk": "dl.figures", "Risk by name": "svg g", "Exposures": "svg g", "Stress": "input", "Attribution": "svg g",
    },
    "market?factors=market,momentum": {"Factor volatilities": "svg g", "Factor correlations": "canvas"},
    "library?factor=alpha101_101": {"How it did": "svg g"},
    "live": {"Running day": "dl.figures, .empty"},
    "operations": {"Model real": "table"},
}  # fmt: skip


@pytest.mark.parametrize("view", ON_REAL_DATA)
def test_each_view_shows_real_data(tab, real, view):
    """The tab's fixture adds: no error in the console, and nothing asked of another host."""
    page = tab.open(f"{view}{'&' if '?' in view else '?'}model={real}")
    for title, holds in ON_REAL_DATA[view].items():
        tab.panel(title).locator(holds).first.wait_for()
    page.locator(".loading").first.wait_for(state="detached")
    assert page.locator(".broken").count() == 0


def test_the_csv_of_the_page_about_the_page_is_read_as_it_says(tab, symbols):
    text = block("page.md", "symbol,weight").replace("AMZN", symbols[0]).replace("MSFT", symbols[1])
    page = tab.open("book")
    page.get_by_text("Paste weights, or drop a CSV", exact=True).click()
    page.locator("#weights").fill(text)
    page.get_by_role("button", name="Use 2 names").click()
    tab.panel("Risk").locator("dl.figures").wait_for()
    assert f"weights={symbols[0]},0.5;{symbols[1]},0.3" in unquote(page.url)


def test_a_book_is_pasted_and_bad_lines_are_named(tab, symbols):
    page = tab.open("book")
    page.get_by_text("No book is chosen").wait_for()
    page.get_by_text("Paste weights, or drop a CSV", exact=True).click()
    page.locator("#weights").fill(f"symbol,weight\n{symbols[0]},0.6\n{symbols[1]};40%\nBAD,much\n{symbols[0]},0.1")
    fault = page.get_by_role("alert").filter(has_text="2 lines are not read").inner_text()
    assert "line 4" in fault
    assert f"{symbols[0]} was there before" in fault
    page.get_by_role("button", name="Use 2 names").click()
    tab.panel("Risk").locator("dl.figures").wait_for()
    assert drawn(tab.panel("Risk by name"), 2)


def test_names_that_the_model_lacks_are_told_once_and_left_out_when_the_reader_says_so(tab, symbols):
    page = tab.open(f"book?weights={symbols[0]},0.5;NOSUCH,0.2;{symbols[1]},0.3")
    told = page.get_by_role("alert").filter(has_text="NOSUCH")
    told.wait_for()
    assert told.count() == 1
    assert tab.panel("Stress").count() == 0
    page.get_by_role("button", name="Leave NOSUCH out, and look at the other 2").click()
    tab.panel("Risk").locator("dl.figures").wait_for()
    assert drawn(tab.panel("Risk by name"), 2)
    assert "NOSUCH" not in page.url
    assert page.locator("#weights").input_value() == f"{symbols[0]},0.5\n{symbols[1]},0.3"
    tab.expect("422")


def test_figures_have_no_sign_where_they_round_to_zero_and_missing_ones_are_dashes(tab):
    page = tab.open("overview")
    tab.panel("Actors").first.wait_for()
    said = page.evaluate(
        """async () => {
          const {number, percent, signed, signedPercent} = await import('./page/words.js');
          return [percent(-1e-6), signedPercent(-1e-6, 1), signedPercent(1e-6, 1), signedPercent(-0.25, 0),
                  number(-0.0001), signed(0.02), signedPercent(0.1234), percent(-0.5)].join() +
                 [signed(null), percent(undefined), number(NaN)].every((text) => text === '\u2013');
        }"""
    )
    assert said == "0.00 %,0.0 %,0.0 %,-25 %,0.000,+0.020,+12.34 %,-50.00 %true"


def test_the_attribution_is_of_the_year_unless_another_period_is_chosen(tab):
    page = tab.open("book?book=equal")
    panel = tab.panel("Attribution")
    panel.get_by_text(re.compile(r"\d{4}-\d\d-\d\d to ")).wait_for()
    with page.expect_response(lambda response: response.url.endswith("/portfolio-attribution/calculate")) as held:
        panel.get_by_label("Over").select_option("99")
    result = held.value.json()["calculation_result"]
    panel.get_by_text(f"{result['start_date']} to {result['end_date']}").wait_for()
    assert "over=99" in page.url
    assert result["n_days"] > 260


def test_a_csv_is_dropped_as_a_file(tab, symbols, tmp_path):
    path = tmp_path / "book.csv"
    path.write_text("Ticker,Weight\n" + "".join(f"{symbol},0.25\n" for symbol in symbols))
    page = tab.open("book")
    page.get_by_text("Paste weights, or drop a CSV", exact=True).click()
    page.get_by_label("CSV file").set_input_files(path)
    tab.panel("Risk").locator("dl.figures").wait_for()
    assert drawn(tab.panel("Risk by name"), len(symbols))


def test_a_picture_is_saved_as_png_and_csv_and_shows_its_request(tab, tmp_path):
    page = tab.open(BENCHMARKED)
    tab.panel("Exposures").locator("svg.bars").wait_for()
    picture = saved(tab, "Exposures", "PNG", tmp_path).read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 5000
    rows = list(csv.reader(saved(tab, "Exposures", "CSV", tmp_path).read_text().splitlines()))
    assert rows[0] == ["factor", "book", "benchmark"]
    assert float({row[0]: row[1] for row in rows[1:]}["market"]) == pytest.approx(1.0)
    tab.panel("Exposures").get_by_role("button", name="Request").click()
    command = tab.panel("Exposures").locator("pre[data-kind=curl]").inner_text()
    assert json.loads(re.search(r"-d '(.*)'", command)[1]) == {
        "portfolio_id": "equal",
        "benchmark": "market",
        "model_id": "m",
    }
    compile(tab.panel("Exposures").locator("pre[data-kind=python]").inner_text(), "shown", "exec")
    assert page.locator("dialog[open]").count() == 0


def test_attribution_is_shown_whole_and_over_time(tab):
    v = answer_to(tab, "/portfolio-attribution/calculate", BENCHMARKED)["factor_values"]
    panel = tab.panel("Attribution")
    panel.locator("svg.bars").wait_for()
    assert f"{100 * v['active_return']:.2f} %" in panel.inner_text()
    tab.page.get_by_role("button", name=re.compile("Show the last")).click()
    tab.panel("Attribution over time").locator("canvas").wait_for()


def test_trades_to_a_target_are_those_that_the_engine_finds(tab):
    tab.open("book?book=equal")
    trades = tab.panel("Trades to a target")
    trades.get_by_label("Bring to zero").locator("option", has_text="momentum").wait_for(state="attached")
    with tab.page.expect_response(lambda response: response.url.endswith("/portfolio/rebalance")) as held:
        trades.get_by_label("Bring to zero").select_option("momentum")
    found = held.value.json()["calculation_result"]["factor_values"]
    trades.locator("dl.figures").wait_for()
    assert shown(trades, "Turnover") == f"{100 * found['turnover']:.2f} %"
    assert abs(found["exposures"]["momentum"]) < 1e-6


def test_the_market_shows_returns_volatilities_correlations_a_style_and_the_quality_report(tab):
    tab.open("market?factors=market,momentum")
    for title in ("Factor returns", "Drawdown", "Factor correlations"):
        tab.panel(title).locator("canvas").first.wait_for()
    tab.panel("Factor volatilities").locator("svg.bars").wait_for()
    tab.panel("A style across the names").locator("svg.bars").first.wait_for()
    tab.panel("Quality of the data").locator("table, .empty").first.wait_for()
    assert "market" in tab.panel("Factor returns").locator(".u-legend").inner_text()
    heat = tab.panel("Factor correlations").locator("canvas")
    heat.hover(position={"x": 145, "y": 145})
    tab.panel("Factor correlations").get_by_text("market with market: +1.00").wait_for()


def test_a_factor_is_found_and_shown_with_how_it_did(tab):
    page = tab.open("library")
    page.get_by_label("Search").fill("alpha101_101")
    tab.panel("Factors").get_by_role("cell", name="alpha101_101").click()
    definition = tab.panel("alpha101_101")
    definition.get_by_text("(close - open)").first.wait_for()
    definition.get_by_text("Kakushadze").first.wait_for()
    tab.panel("Distribution").locator("svg").wait_for()
    tab.panel("How it did").get_by_text("Decay of the IC").wait_for()
    assert "factor=alpha101_101" in page.url


def test_a_formula_is_pictured_as_it_is_typed_and_an_error_stands_at_its_place(tab):
    page = tab.open("library")
    editor = page.get_by_label(re.compile("^Formula"))
    editor.fill("rank(ts_mean(returns, 5))")
    own = tab.panel("A formula of your own")
    own.locator("svg.bars").wait_for()
    editor.fill("rank(returns) + foo")
    own.locator(".broken", has_text="unknown name 'foo'").wait_for()
    assert own.locator("[data-column]").get_attribute("data-column") == "17"
    assert own.locator(".at").inner_text() == "f"
    assert own.locator("svg.bars").count() == 0
    # A browser writes a line for each answer that is an error, which a wrong formula is.
    tab.expect("422")


def test_a_formula_is_completed_from_the_language_and_says_how_a_call_is_written(tab):
    page = tab.open("library")
    editor = page.get_by_label(re.compile("^Formula"))
    own = tab.panel("A formula of your own")
    editor.fill("rank(retu")
    own.get_by_role("button", name="returns field", exact=True).wait_for()
    editor.press("Tab")
    assert editor.input_value() == "rank(returns"
    # No definition of the library need be written with an operator for it to be offered.
    editor.fill("winsorize_si")
    own.get_by_role("button", name="winsorize_sigma operator", exact=True).click()
    assert editor.input_value() == "winsorize_sigma("
    own.locator("[data-call]", has_text="winsorize_sigma(x, k = 3)").wait_for()
    editor.fill("corr(close, volume, ")
    own.locator("[data-call]", has_text="here d: a whole number, 2 or more, in rows").wait_for()
    editor.fill("alpha101_101")
    own.get_by_role("button", name="alpha101_101 factor", exact=True).wait_for()
    editor.press("Tab")
    assert "(close - open)" in editor.input_value()
    # What is offered can be put away, so that Tab goes on from the box.
    editor.fill("rank(retu")
    own.get_by_role("button", name="returns field", exact=True).wait_for()
    editor.press("Escape")
    editor.press("Tab")
    assert editor.input_value() == "rank(retu"
    assert page.evaluate("document.activeElement.id") != "formula"
    tab.expect("422")


def test_the_nearest_factors_are_of_every_category_and_lead_to_each_other(tab):
    page = tab.open("library?factor=alpha101_101")
    near = tab.panel("Nearest factors")
    with page.expect_response(lambda response: response.url.endswith("/factors/neighbours")) as held:
        near.locator("svg.bars").wait_for()
    found = held.value.json()["calculation_result"]["factor_values"]
    assert drawn(near, len(found))
    near.get_by_role("button", name=re.compile(f"^{next(iter(found))}: ")).click()
    tab.panel(next(iter(found))).wait_for()


def test_operations_show_where_actors_run_and_what_was_asked(tab):
    page = tab.open("operations")
    tab.panel("Latencies").get_by_role("cell", name="list models").first.wait_for()
    actors = tab.panel("Where the actors run").locator("tbody tr")
    actors.nth(11).wait_for()
    assert actors.count() == 12
    tab.panel("Model m").locator("dt").filter(has_text="Version").wait_for()
    assert page.get_by_role("button", name="Delete this model").count() == 0


def test_a_view_is_right_at_once_from_its_address(tab):
    page = tab.open("market?years=3&style=size&model=m")
    style = tab.panel("A style across the names")
    style.locator("svg.bars").first.wait_for()
    assert style.get_by_label("Style").input_value() == "size"
    assert page.get_by_label("Over").input_value() == "3"


def test_a_view_works_below_a_prefix(prefix, tab):
    tab.url = prefix.url
    tab.open(BENCHMARKED)
    tab.panel("Exposures").locator("svg.bars").wait_for()
    tab.panel("Exposures").get_by_role("button", name="Request").click()
    assert (
        f"{prefix.url}factor-exposures/calculate" in tab.panel("Exposures").locator("pre[data-kind=curl]").inner_text()
    )
