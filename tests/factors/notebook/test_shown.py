"""What results show in a notebook, by value: frames, the data of pictures, escaped HTML."""

import importlib
import pkgutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from whole_catalogue import whole_catalogue

import factors
from factors import FactorModel, sample_market
from factors.analytics import (
    TearSheetSettings,
    factor_trend,
    information_coefficient,
    information_summary,
    performance,
    tear_sheet,
)
from factors.errors import FactorError
from factors.learning import WalkForwardSettings, judge, walk_forward
from factors.library import compile_library
from factors.library.definitions.scores import cross_section
from factors.live import LiveDay
from factors.notebook import Named, Names, Picture, Shown
from factors.portfolio.attribution import attribute, attribute_day
from factors.portfolio.hedge import hedge
from factors.portfolio.history import risk_history
from factors.portfolio.limits import Limits
from factors.portfolio.margin import Margin, MarginSettings, margin
from factors.portfolio.optimize import Problem, optimize
from factors.portfolio.risk import portfolio_risk
from factors.portfolio.scenarios import apply_scenarios

ROOT = Path(__file__).parents[3]
X = np.array([[1.0, 0.5], [1.0, -1.0], [1.0, 0.0]])
F = np.array([[1e-4, 2e-5], [2e-5, 4e-5]])
VARIANCE = np.array([1e-4, 4e-4, 2e-4])
W = np.array([0.5, 0.3, 0.2])
BAD = '<script>alert("x")</script>'
DATES = np.arange("2024-01-02", "2024-01-06", dtype="datetime64[D]")


@pytest.fixture(scope="module")
def model():
    return FactorModel().fit(sample_market(n_assets=40, n_days=300, seed=3).panel)


@pytest.fixture(scope="module")
def attribution():
    rng = np.random.default_rng(0)
    return attribute(W, X, rng.normal(0, 0.01, (4, 2)), rng.normal(0, 0.01, (4, 3))).named(
        factors=["market", "size"], dates=DATES
    )


@pytest.fixture(scope="module")
def shown(model, attribution):
    """An object of each class that shows itself."""
    panel = model.panel_
    risk = portfolio_risk(W, X, F, VARIANCE)
    library = compile_library({"f": "ts_mean(close, 3)"})
    close = np.arange(12.0).reshape(4, 3) ** 2
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((60, 10))
    days = np.datetime64("2024-01-01") + np.arange(60)
    return [
        model, model.latest(), panel, panel.quality(), risk, attribution, attribution.total(),
        risk_history(np.tile(W, (4, 1)), [X] * 4, [F] * 4, np.tile(VARIANCE, (4, 1)), np.full((4, 3), 0.01)),
        margin(W, X, F, VARIANCE, settings=MarginSettings(method="normal")),
        apply_scenarios(W, X, np.array([[-0.1, 0.0], [0.0, 0.05]])),
        optimize(Problem(X, F, VARIANCE), Limits(position=(0.0, 0.6)), "min_risk"),
        hedge(W, np.array([[0.0, 0.0, 1.0]]), X, F, VARIANCE),
        tear_sheet(scores, 0.01 * rng.standard_normal((60, 10)), days, TearSheetSettings(horizons=(1, 5))),
        library, library.run({"close": close}, dates=DATES), whole_catalogue(), *more_results(model, scores, days),
    ]  # fmt: skip


def more_results(model, scores, days):
    """Results that are parts of others, or of the running day."""
    panel, rng = model.panel_, np.random.default_rng(2)
    returns = 0.01 * rng.standard_normal(scores.shape)
    live = LiveDay(model, panel.dates[-1] + np.timedelta64(1, "D"))
    every = np.arange(panel.n_assets)
    live.tick(every, {"returns": rng.normal(0.0, 0.01, every.size), "market_cap": panel.fields["market_cap"][-1]})
    values, book = live.peek(), np.nan_to_num(panel.fields["market_cap"][-1:])
    training = WalkForwardSettings(horizon=1, first=60, every=20, embargo=1, hidden=(2,), epochs=1)
    features = rng.standard_normal((2, 90, 40))
    ics = information_coefficient(scores, returns)
    return [
        performance(returns[:, 0]), information_summary(ics), factor_trend(returns, 20),
        judge(scores, -scores, returns, 1, 3), walk_forward(features, 0.01 * features[0], training),
        cross_section(scores[:2], None), values, live.portfolios(book / book.sum()),
        attribute_day(W, X, np.array([0.01, 0.0]), np.array([0.0, 0.01, -0.01])),
        portfolio_risk(W, X, F, VARIANCE, np.full(3, 1 / 3)).active,
    ]  # fmt: skip


def every_class():
    for found in pkgutil.walk_packages(factors.__path__, "factors."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    waiting, out = [Shown], set()
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("factors.") and kind.__name__ not in ("Figures", "Named", "ShownModel"):
                out.add(kind.__qualname__)
    return out


NO_RESULTS = {
    "what a caller gives": """
        BacktestSettings FactorCovarianceSettings HedgeLimits Horizon Intake Limits Linked MarginSettings
        ModelSettings MomentumSettings Problem RegressionSettings SizeSettings SpecificRiskSettings
        StyleSettings TearSheetSettings Trades ValueSettings WalkForwardSettings""",
    "an entry of a table that shows itself, or of a document": """
        Agreement Alias Census Definition Descriptor Finding Kind Layer Operator Oracle Parameter Proxy
        Rejection Rejections Similarity Style Training""",
    "formulas and how they are compiled": """
        Conventions Expression Found Member Node Reach Ref Slot State Step Term Translation Unseen""",
    "arrays on their way to a result": """
        Adjustment CarriedSplits Categories Counted Covered CrossSections DenseNetwork Drawn Expert Fits Folds Held
        Inputs LayerOutcome LibraryFields Market Meaning ModelState Names Observations Occasion PeekedDay
        PeerForecasts Places Quadratic Recipe Rule Scaler Scored Series Splits Stand Statements Wide""",
    "markets that are made up": "Reports SampleMarket Trade Truth",
}
"""Public dataclasses and tuples that no notebook needs to show, by why. A new one is shown, or stands here."""


def test_every_public_result_shows_itself():
    every_class()  # imports all modules
    found = {
        kind for module in list(sys.modules) if module.startswith("factors.")
        for kind in vars(sys.modules[module]).values()
        if isinstance(kind, type) and kind.__module__ == module and not kind.__name__.startswith("_")
        and (is_dataclass(kind) or hasattr(kind, "_fields"))
    }  # fmt: skip
    excused = " ".join(NO_RESULTS.values()).split()
    assert len(excused) == len(set(excused))
    silent = {kind.__name__ for kind in found if not issubclass(kind, Shown)}
    assert silent == set(excused)


def test_arrays_over_named_axes_are_a_row_for_each_cell():
    day = attribute_day(np.array([W, [0.0, 1.0, 0.0]]), X, np.array([0.01, 0.02]), np.array([0.0, 0.01, np.nan]))
    found = day.named(portfolios=["a", "b"], factors=["market", "size"]).to_polars()
    sums = found.group_by("portfolio", maintain_order=True).agg(pl.col("contribution").sum())
    assert sums["portfolio"].to_list() == ["a", "b"]
    np.testing.assert_allclose(sums["contribution"], day.total, rtol=1e-12)
    assert found.filter(pl.col("portfolio") == "b")["part"].to_list() == ["market", "size", "specific"]
    returns = np.full((4, 2), 0.01)
    returns[:, 1] = 0.0
    trend = factor_trend(returns, 3).named(dates=DATES, factors=["up", "flat"]).to_polars()
    assert trend.columns == ["date", "factor", "slope", "r_squared"]
    assert trend["date"].to_list()[::2] == DATES.tolist()
    assert trend["slope"][:4].to_list() == [None] * 4
    assert trend.filter(pl.col("factor") == "up")["slope"][-1] == pytest.approx(np.log(1.01))


def test_every_class_that_shows_itself_does_so(shown):
    assert {type(one).__name__ for one in shown} == every_class()
    for one in shown:
        frame, html = one.to_polars(), one._repr_html_()
        assert isinstance(frame, pl.DataFrame)
        assert frame.height, type(one)
        assert not any(frame[name].is_nan().any() for name, kind in frame.schema.items() if kind.is_float()), type(one)
        assert html.count("<table>") == html.count("</table>") >= 1
        if type(one).__name__ != "QualityReport" or one.findings:
            picture = one.plot()
            assert isinstance(picture, Picture)
            assert picture._repr_png_()[:4] == b"\x89PNG"
            assert picture.axes.get_title(loc="left")


def widths(picture):
    """Labels of bars with their lengths, from the top."""
    names = [label.get_text() for label in picture.axes.get_yticklabels()]
    return dict(zip(names, [bar.get_width() for bar in picture.axes.patches], strict=True))


def test_risk_is_the_parts_of_each_book():
    risk = portfolio_risk(np.array([W, [0.0, 1.0, 0.0]]), X, F, VARIANCE)
    named = risk.named(portfolios=["a", "b"], factors=["market", "size"], assets=["A", "B", "C"])
    exposed = W @ X
    total = np.sqrt(exposed @ F @ exposed + W**2 @ VARIANCE)
    parts = [*(exposed * (F @ exposed) / total), W**2 @ VARIANCE / total]
    found = named.to_polars().filter(portfolio="a")
    assert found["factor"].to_list() == ["market", "size", "specific"]
    np.testing.assert_allclose(found["contribution"], parts, rtol=1e-12)
    np.testing.assert_allclose(found["share"], np.array(parts) / total, rtol=1e-12)
    assert found["exposure"].to_list() == [*exposed.tolist(), None]
    by_asset = named.to_polars(by="asset").filter(portfolio="b")
    assert by_asset["asset"].to_list() == ["A", "B", "C"]
    assert by_asset["contribution"].to_list()[::2] == [0.0, 0.0]
    assert widths(named.plot()) == pytest.approx(dict(zip(["market", "size", "specific"], parts, strict=True)))
    assert [*map(abs, widths(named.plot()).values())] == pytest.approx(sorted(map(abs, parts), reverse=True))
    assert risk.to_polars()["factor"][0] == "factor 1"
    with pytest.raises(FactorError, match="not asked for by asset"):
        portfolio_risk(W, X, F, VARIANCE, by_asset=False).to_polars(by="asset")


def test_names_reach_the_active_risk():
    risk = portfolio_risk(W, X, F, VARIANCE, np.full(3, 1 / 3)).named(factors=["market", "size"])
    assert risk.active.risk.to_polars()["factor"].to_list() == ["market", "size", "specific"]


@pytest.mark.parametrize(
    ("names", "said"),
    [({"factors": ["market"]}, "factors are 2, and 1 names"), ({"dates": DATES}, "no axis 'dates'; it has portfolios")],
)
def test_names_that_do_not_fit_are_refused(names, said):
    with pytest.raises(FactorError, match=said):
        portfolio_risk(W, X, F, VARIANCE).named(**names)


def test_an_attribution_is_added_up_over_its_days(attribution):
    found = attribution.to_polars()
    assert found["date"].to_list() == DATES.tolist()
    sums = found.select(pl.sum_horizontal("market", "size", "specific", "unexplained")).to_series()
    np.testing.assert_allclose(sums, found["portfolio_return"], atol=1e-15)
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in attribution.plot().axes.get_lines()}
    np.testing.assert_allclose(lines["market"], np.cumsum(found["market"]), rtol=1e-12)
    np.testing.assert_allclose(lines["in all"], np.cumsum(found["portfolio_return"]), rtol=1e-12)
    total = attribution.total()
    assert total.to_polars()["contribution"].sum() == pytest.approx(total.active_return, abs=1e-15)
    assert widths(total.plot())["size"] == pytest.approx(total.factor[1])
    assert attribution.by_period(["a", "a", "b", "b"])[1].to_polars()["part"][0] == "market"


def test_a_models_factors_are_told_by_the_year(model):
    row = model.factors_frame().row(by_predicate=pl.col("factor") == "market", named=True)
    market = model.factor_returns_[:, 0]
    known = market[np.isfinite(market)]
    year = 252.0
    assert row["volatility_annual"] == pytest.approx(known.std(ddof=1) * np.sqrt(year), rel=0.02)
    t = np.abs(model.t_stats_[:, 0])
    assert row["share_significant"] == pytest.approx((t[np.isfinite(t)] > 2).mean())
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in model.plot(factors=["market"]).axes.get_lines()}
    assert list(lines) == ["market"]
    np.testing.assert_allclose(lines["market"], np.nancumsum(market), rtol=1e-12)
    assert all(f">{name}<" in model._repr_html_() for name in model.factor_names_[:5])
    with pytest.raises(FactorError, match="no factor 'luck'"):
        model.plot(factors=["luck"])


def test_a_model_that_is_not_fitted_says_so():
    assert "call fit or set_panel" in FactorModel()._repr_html_()


def test_the_latest_risk_model_is_its_volatilities_and_correlations(model):
    latest = model.latest()
    frame = latest.to_polars()
    assert frame["beta"].null_count() == int(np.isnan(latest.exposures[:, -1]).sum())
    found = widths(latest.plot())
    volatility = dict(zip(latest.factor_names, np.sqrt(np.diag(latest.factor_covariance)), strict=True))
    assert all(size == pytest.approx(volatility[name]) for name, size in found.items())
    image = latest.plot(what="correlation").axes.get_images()[0].get_array()
    np.testing.assert_allclose(np.diag(image), 1.0, atol=1e-12)
    assert image[0, 1] == pytest.approx(
        latest.factor_covariance[0, 1] / (volatility[latest.factor_names[0]] * volatility[latest.factor_names[1]])
    )


def test_a_panel_counts_what_it_holds(model):
    panel = model.panel_
    known = panel.fields_frame().row(by_predicate=pl.col("field") == "returns", named=True)
    assert known["known"] == pytest.approx(np.isfinite(panel.fields["returns"]).mean())
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in panel.plot().axes.get_lines()}
    np.testing.assert_array_equal(lines["returns"], np.isfinite(panel.fields["returns"]).sum(axis=1))
    assert f"{panel.n_dates} dates" in panel._repr_html_()
    assert "asset_returns" not in panel.to_polars().columns


def test_a_history_marks_the_days_beyond_the_limit():
    returns = np.full((4, 3), 0.001)
    returns[2] = -0.2
    history = risk_history(np.tile(W, (4, 1)), [X] * 4, [F] * 4, np.tile(VARIANCE, (4, 1)), returns).named(dates=DATES)
    lines = {line.get_label(): line for line in history.plot().axes.get_lines()}
    np.testing.assert_array_equal(np.asarray(lines["predicted"].get_ydata()), history.total)
    assert np.asarray(lines["loss beyond the limit"].get_ydata()).tolist() == [pytest.approx(-0.2)]
    frame = history.to_polars()
    assert frame["breach"].to_list() == [False, True, False, False]
    assert frame["realised"][3] is None


def test_values_of_formulas_are_a_dict_that_knows_its_names():
    close = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
    found = compile_library({"f": "close * 2"}).run({"close": close}, dates=DATES[:3])
    assert list(found) == ["f"]
    np.testing.assert_array_equal(found["f"], close * 2)
    frame = found.named(["A", "B"]).to_polars()
    assert frame.rows() == [
        (DATES[0].item(), "A", 2.0), (DATES[0].item(), "B", 4.0), (DATES[1].item(), "A", 6.0),
        (DATES[2].item(), "A", 10.0), (DATES[2].item(), "B", 12.0),
    ]  # fmt: skip
    assert found.to_polars()["symbol"][1] == "asset 2"
    assert sum(bar.get_height() for bar in found.plot().axes.patches) == 2
    for wrong in (lambda: found.named(["A"]), lambda: found.plot(factor="g")):
        with pytest.raises(FactorError):
            wrong()


def test_a_tear_sheet_draws_its_own_figures(shown):
    sheet = next(one for one in shown if type(one).__name__ == "TearSheet")
    heights = [bar.get_height() for bar in sheet.plot().axes.patches]
    wanted = [mean for row in sheet.figures["horizons"] for mean in row["quantile_returns"]]
    np.testing.assert_allclose(heights, wanted)
    decay = [bar.get_height() for bar in sheet.plot(what="decay").axes.patches]
    ics = [row["mean_ic"] for row in sheet.figures["decay"]]
    np.testing.assert_allclose(decay, np.array(ics, float))  # what is not known is a gap
    assert sheet.to_polars()["ic"].to_list() == [row["ic"]["mean"] for row in sheet.figures["horizons"]]


def test_names_cannot_write_into_the_page(attribution):
    risk = portfolio_risk(W, X, F, VARIANCE).named(portfolios=[BAD], factors=[BAD, "size"], assets=["A", "B", BAD])
    found = tear_sheet(np.eye(30), np.eye(30) / 100, np.datetime64("2024-01-01") + np.arange(30), name=BAD)
    for html in (risk._repr_html_(), found._repr_html_(), attribution.named(factors=[BAD, "x"])._repr_html_()):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_what_is_missing_is_a_dash_and_long_tables_say_what_is_left():
    from factors.notebook.table import of_rows

    html = of_rows(("name", "x"), [(f"n{n}", None if n == 0 else 0.5) for n in range(25)], forms={"x": ".1%"})
    assert ">-<" in html
    assert ">50.0%<" in html
    assert "and 5 more rows" in html
    assert html.count("text-align:right") == 21  # the head, and the cells of the one column of numbers


def test_without_matplotlib_it_says_which_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FactorError, match=r"pip install factor-engine\[report\]"):
        portfolio_risk(W, X, F, VARIANCE).plot()


def test_nothing_to_draw_is_an_error_and_a_picture_can_go_into_other_axes(tmp_path):
    from matplotlib.figure import Figure

    nothing = Margin(*[np.full(1, np.nan)] * 3)
    with pytest.raises(FactorError, match="no number to draw"):
        nothing.plot()
    left, right = Figure().subplots(1, 2)
    assert portfolio_risk(W, X, F, VARIANCE).plot(right).axes is right
    assert not left.patches
    assert len(right.patches) == 3


def test_the_same_figures_give_the_same_file(tmp_path):
    for kind in ("svg", "png"):
        one, two = (portfolio_risk(W, X, F, VARIANCE).plot().save(tmp_path / f"{n}.{kind}") for n in (1, 2))
        assert one.read_bytes() == two.read_bytes()


def test_nothing_that_draws_is_loaded_before_it_is_asked_for():
    script = (
        "import sys, numpy as np; from factors.portfolio.risk import portfolio_risk; "
        "r = portfolio_risk(np.ones(1), np.ones((1, 1)), np.eye(1), np.ones(1)); "
        "print([m for m in ('matplotlib', 'polars', 'pandas') if m in sys.modules]); r.plot(); r._repr_html_(); "
        "print([m for m in ('matplotlib.pyplot', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


MACHADO = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (to_xyz @ np.clip(linear, 0, 1)) / np.array([0.9505, 1.0, 1.089])
    f = [t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", ["none", *MACHADO])
def test_the_colours_are_told_apart_with_any_colour_blindness(kind):
    from factors.notebook.style import PALETTE

    seen = []
    for colour in PALETTE:
        srgb = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        seen.append(lab(np.array(MACHADO[kind]) @ linear if kind in MACHADO else linear))
    apart = [np.linalg.norm(a - b) for n, a in enumerate(seen) for b in seen[:n]]
    assert min(apart) > 10.0  # 2.3 is just noticeable


def test_an_axis_without_names_is_numbered():
    assert Names().of("factors", 2) == ["factor 1", "factor 2"]
    assert issubclass(Named, Shown)
