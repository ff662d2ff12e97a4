import html
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest

from factors.factor_model.model import FactorModel
from factors.panel.panel import Panel
from factors.risk.settings import FactorCovarianceSettings, SpecificRiskSettings
from factors.sample.market import sample_market
from factors.validation.__main__ import main
from factors.validation.backtest import BacktestSettings, LayerOutcome, backtest
from factors.validation.charts import charts
from factors.validation.layers import layers
from factors.validation.report import family_figures
from factors.validation.statistics import bias_statistic, standardized_outcomes

REAL = Path(__file__).parents[3] / ".." / "shared" / "data" / "sp500_2014_2018.parquet"
SIZES = {"volatility": 0.01, "value_at_risk": 0.02326, "expected_shortfall": 0.02665}
ARGUMENTS = ["--burn-in", "330", "--random", "10", "--random-size", "15", "--window", "100"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "market.parquet"
    sample_market(n_assets=60, n_days=390, seed=5).panel.to_frame().write_parquet(path)
    return path


def test_the_command_writes_a_page_with_charts_and_the_figures_as_json(data, tmp_path, capsys):
    status = main([str(data), "--out", str(tmp_path), *ARGUMENTS])
    figures = json.loads((tmp_path / "validation.json").read_text())
    page = (tmp_path / "validation.html").read_text()
    assert status == 0
    *groups, criterion, place = capsys.readouterr().out.splitlines()
    shown = [line.split("  ")[1] for line in groups[1:]]
    assert shown == [group["group"] for group in figures["horizons"][0]["specific_groups"]]
    assert {"every name", "new listing"} <= set(shown)
    assert all(group["group"] in page for group in figures["horizons"][0]["specific_groups"])
    assert json.loads(criterion) == figures["criterion"]
    assert Path(place) == tmp_path / "validation.html"
    assert [horizon["horizon_days"] for horizon in figures["horizons"]] == [1, 21]
    names = [layer["name"] for layer in figures["horizons"][0]["layers"]]
    assert names == [
        "sample",
        "EWMA",
        "+ Newey-West",
        "+ eigenfactor",
        "+ regime",
        "+ Bayes",
        "+ adaptive (full model)",
    ]
    full = figures["horizons"][0]["layers"][-1]["families"]
    assert full["random"]["n_portfolios"] == 10
    assert f"{full['random']['mean_bias']:.3f}" in page
    assert ("Criterion met" in page, "Criterion not met" in page) == (
        figures["criterion"]["met"],
        not figures["criterion"]["met"],
    )
    assert "Weights of the experts on factor volatilities" in page
    assert "Weights of the experts on specific variances" in page
    assert full["random"]["filtered_shortfall_99"] > 0.5
    assert all(0.0 <= full[family][name] <= 0.3 for family in full for name in ("breaches_95", "breaches_99"))
    wrong = figures["quality"]["findings"]  # what was planted in the sample market
    assert {"history_ends", "missing_return"} & {finding["kind"] for finding in wrong}
    for finding in wrong:
        said = [
            f"{finding['severity']}: {finding['line']}",
            str(finding["n_rows"]),
            finding["effect"],
            finding["remedy"],
        ]
        assert "".join(f"<td>{html.escape(text)}</td>" for text in said) in page
    pieces = page.split("<svg")[1:]
    assert len(pieces) == 8
    for piece in pieces:
        ET.fromstring("<svg" + piece[: piece.index("</svg>")] + "</svg>")


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 1.0), (1.5, 1.1155)])
def test_losses_beyond_the_value_at_risk_are_held_to_their_expected_shortfall(scale, expected):
    """Of a normal loss the shortfall is known: beyond 2.326 deviations 2.665; of one half as large again 2.973."""
    made = 0.01 * scale * np.random.default_rng(2).standard_normal((2000, 50))
    given = {name: {"random": np.full(made.shape, size)} for name, size in SIZES.items()}
    figures = family_figures(LayerOutcome("any", returns={"random": made}, **given), ("random",), 1)["random"]
    assert figures["filtered_shortfall_99"] == pytest.approx(expected, abs=0.02)
    missing = LayerOutcome("any", returns={"random": made}, volatility=given["volatility"])
    assert family_figures(missing, ("random",), 1)["random"]["filtered_shortfall_99"] is None


def test_the_same_figures_give_the_same_charts(data):
    model = FactorModel().set_panel(Panel.from_frame(pl.read_parquet(data)))
    model.estimate_style_scores().estimate_factor_returns()
    chosen = layers(FactorCovarianceSettings.adaptive(), SpecificRiskSettings.adaptive(), 100)[-2:]
    rows, outcomes = backtest(model, chosen, BacktestSettings(burn_in=370, n_random=5, random_size=10))
    assert charts(model, rows, outcomes) == charts(model, rows, outcomes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["missing.parquet"], "no file"), (["README.md"], "must be .parquet"), (["DATA", "--burn-in", "5000"], "too few")],
)
def test_input_that_cannot_be_used_is_said_in_a_sentence(data, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("text")
    given = [str(data) if argument == "DATA" else argument for argument in arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(not REAL.exists(), reason="the shared price file is not here")
def test_on_real_prices_the_full_model_is_unbiased_for_random_and_cap_weighted_portfolios():
    panel = Panel.from_frame(pl.read_parquet(REAL))
    model = FactorModel().set_panel(panel).estimate_style_scores().estimate_factor_returns()
    full = layers(FactorCovarianceSettings.adaptive(), SpecificRiskSettings.adaptive(), 252)[-1:]
    _, outcomes = backtest(model, full, BacktestSettings(tails=False))
    for family in ("random", "cap-weighted"):
        b = standardized_outcomes(outcomes[0].returns[family], outcomes[0].volatility[family])
        assert 0.9 < bias_statistic(b).mean() < 1.1
