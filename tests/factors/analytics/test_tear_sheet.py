"""A tear sheet's figures are those of its parts, defined or None, and its page needs no network."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from factors import analytics
from factors.errors import FactorError

DATES = np.arange("2020-01-01", "2020-07-19", dtype="datetime64[D]")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((200, 40))
    returns = 0.02 * rng.standard_normal((200, 40))
    returns[1:] += 0.004 * scores[:-1]
    scores[rng.random(scores.shape) < 0.1] = np.nan
    returns[:50, :4] = np.nan  # listed late
    scores[120:, 4:8] = np.nan  # left
    returns[120:, 4:8] = np.nan
    return scores, returns


def test_figures_are_those_of_the_parts(data):
    scores, returns = data
    found = analytics.tear_sheet(scores, returns, DATES, name="f").figures
    one, five, _ = found["horizons"]
    following = analytics.forward_returns(returns, 5)
    ic = analytics.information_summary(analytics.information_coefficient(scores, following), 5)
    assert five["ic"]["mean"] == ic.mean
    assert five["ic"]["t_statistic"] == ic.t_statistic
    means = analytics.quantile_returns(scores, following)
    assert five["quantile_returns"] == pytest.approx(np.nanmean(means, axis=0).tolist())
    spread = analytics.quantile_spread(scores, following)
    assert five["spread"]["mean"] == pytest.approx(np.nanmean(spread))
    assert five["spread"]["t_statistic"] == analytics.mean_t_statistic(spread, 4)
    apart = spread[::5]
    assert five["spread"]["deflated_sharpe"] == analytics.deflated_sharpe(apart, 1)
    assert one["ic"]["mean"] > 0.1
    assert one["ic"]["p_value"] < 1e-6
    assert [row["days_ahead"] for row in found["decay"]] == [1, 2, 3, 5, 10, 21, 42, 63]
    assert found["decay"][0]["mean_ic"] > 5 * abs(found["decay"][3]["mean_ic"])
    assert found["ic_by_month"][0]["month"] == "2020-01"
    assert (found["first_date"], found["last_date"]) == ("2020-01-01", "2020-07-18")


def test_purged_dates_and_lags_are_said_and_other_scores_compared_by_rank_on_every_21st_date(data):
    scores, returns = data
    rng = np.random.default_rng(3)
    others = {"like": scores + 0.3 * rng.standard_normal(scores.shape), "other": rng.standard_normal(scores.shape)}
    sheet = analytics.tear_sheet(scores, returns, DATES, others=others)
    assert [(row["purged_dates"], row["overlap_lags"]) for row in sheet.figures["horizons"]] == [
        (1, 0),
        (5, 4),
        (21, 20),
    ]
    for row, (name, panel) in zip(sheet.figures["correlations"], others.items(), strict=True):
        rows = range(199, -1, -21)
        by_hand = [stats.spearmanr(scores[t], panel[t], nan_policy="omit").statistic for t in rows]
        assert (row["factor"], row["n_dates"]) == (name, len(rows))
        assert row["mean_rank"] == pytest.approx(np.mean(by_hand), abs=1e-12)
    assert "Rank correlation with other factors" in sheet.to_html()
    assert "Rank correlation" not in analytics.tear_sheet(scores, returns, DATES).to_html()
    with pytest.raises(FactorError, match="others must be"):
        analytics.tear_sheet(scores, returns, DATES, others={"short": scores[1:]})


def test_trials_make_the_same_factor_less_significant(data):
    few = analytics.tear_sheet(*data, DATES, analytics.TearSheetSettings(trials=1)).figures["horizons"][2]
    many = analytics.tear_sheet(*data, DATES, analytics.TearSheetSettings(trials=500)).figures["horizons"][2]
    assert many["ic"]["p_value_after_trials"] > few["ic"]["p_value_after_trials"] == few["ic"]["p_value"]
    assert many["spread"]["deflated_sharpe"] < few["spread"]["deflated_sharpe"]


def test_what_is_not_defined_is_none_and_the_whole_is_json(data):
    scores, returns = data
    empty = analytics.tear_sheet(np.full_like(scores, np.nan), returns, DATES)
    text = json.dumps(empty.figures, allow_nan=False)
    assert json.loads(text)["horizons"][0]["ic"]["mean"] is None
    assert "-</td>" in empty.to_html()


def test_the_last_days_of_a_horizon_judge_nothing(data):
    scores, returns = data
    changed = scores.copy()
    changed[-21:] = np.random.default_rng(9).standard_normal((21, 40))
    before = analytics.tear_sheet(scores, returns, DATES).figures["horizons"][2]
    assert analytics.tear_sheet(changed, returns, DATES).figures["horizons"][2] == before


def test_scores_once_a_month_are_bets_of_twelve_a_year(data):
    """Whatever day they begin on: every spread counts, and a year has as many bets as were made."""
    scores, returns = data
    monthly = np.full_like(scores, np.nan)
    monthly[3::21] = scores[3::21]
    found = analytics.tear_sheet(monthly, returns, DATES).figures
    for row in found["horizons"]:
        spread = analytics.quantile_spread(monthly, analytics.forward_returns(returns, row["days"]))[3::21]
        spread = spread[~np.isnan(spread)]
        expected = spread.mean() / spread.std(ddof=1) * np.sqrt(found["periods_per_year"] / 21)
        assert row["spread"]["annual_ratio"] == pytest.approx(expected)
        assert row["spread"]["deflated_sharpe"] == pytest.approx(analytics.deflated_sharpe(spread, 1))
        assert row["spread"]["t_statistic"] == pytest.approx(analytics.mean_t_statistic(spread))
    assert found["turnover"][0]["top"] is None  # there was no score the day before
    assert 0.0 <= found["turnover"][2]["top"] <= 1.0


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes += attrs


def test_the_page_has_every_picture_in_it_and_escapes_names(data):
    page = analytics.tear_sheet(*data, DATES, name="a<b>&c").to_html()
    tags = Tags()
    tags.feed(page)
    assert tags.found.count("svg") == 5
    assert tags.found.count("rect") >= 30
    assert not {name for name, _ in tags.attributes} & {"src", "href", "onclick"}
    assert "script" not in tags.found
    assert "a&lt;b&gt;&amp;c" in page


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"horizons": ()}, "horizons"),
        ({"horizons": (0,)}, "horizons[0]"),
        ({"n_quantiles": 1}, "n_quantiles"),
        ({"trials": 0}, "trials"),
    ],
)
def test_settings_out_of_range_are_named(settings, field):
    with pytest.raises(FactorError) as caught:
        analytics.TearSheetSettings(**settings)
    assert caught.value.field == field


def test_too_short_a_history_is_an_error(data):
    scores, returns = data
    with pytest.raises(FactorError, match="22 dates are too few for a horizon of 21"):
        analytics.tear_sheet(scores[:22], returns[:22], DATES[:22])
