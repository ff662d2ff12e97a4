"""Formulas as qlib, WorldQuant BRAIN and the paper's PDF have them: what they become, and what is refused."""

import numpy as np
import pytest
from whole_catalogue import whole_catalogue

from factors.library import FormulaError, compile_library, parse, translate

QLIB = {
    "$close": "close",
    "Mean($close, 20)/Ref($close, 1)-1": "((mean(close, 20) / delay(close, 1)) - 1)",
    "  Std($close,\n 5)": "stddev(close, 5)",
    "-$change ** 2 > 0": "((-(returns ^ 2)) > 0)",
    "If(Gt($open, $close), Greater($high, 1), Less($low, 2.5))": (
        "where((open > close), maximum(high, 1), minimum(low, 2.5))"
    ),
    "And($close > 1, Not($open < 1)) | ~($low == 2)": "(((close > 1) && logical_not((open < 1))) || (!(low == 2)))",
    "Corr($close, Log($volume), 10) * Cov($open, $close, 5)": "(corr(close, log(volume), 10) * cov(open, close, 5))",
    "Quantile($close, 20, 0.8) + IdxMax($high, 5)": "(ts_quantile(close, 20, 0.8) + ts_argmax(high, 5))",
    "Count($close, 3)": "sum(where(isnan(close), 0, 1), 3)",
    "WMA($close, 4)": "(decay_linear(close, 4) / 4)",
}
BRAIN = {
    "ts_delta(close, 5);": "delta(close, 5)",
    "rank(ts_corr(vwap, volume, 10))": "rank(corr(vwap, volume, 10))",
    "/* signal */ a = -ts_std_dev(returns, 20);\n group_neutralize(a * cap, subindustry);": (
        "a = (-stddev(returns, 20));\nindneutralize((a * market_cap), subindustry)"
    ),
    "group_neutralize(rank(close), market)": "demean(rank(close))",
    "ts_decay_linear(close > open ? 1 : -1, 10, dense=false)": "decay_linear(((close > open) ? 1 : (-1)), 10)",
    "max(close, 5)": "maximum(close, 5)",
    "ts_regression(close, open, 20, lag=2, rettype=2)": "reg_slope(close, delay(open, 2), 20)",
    "winsorize(ts_backfill(sales, 60), std=4)": "winsorize_sigma(ffill(sales, 60), 4)",
    "group_mean(close, cap, sector) + group_mean(close, 1, sector)": (
        "(group_wmean(close, market_cap, sector) + group_mean(close, sector))"
    ),
    "ts_backfill(sales, lookback=60, k=1)": "ffill(sales, 60)",
    "add(close, open, volume, filter=false) * multiply(2, close)": "((close + open + volume) * (2 * close))",
    "group_neutralize(pasteurize(close), densify(subindustry))": "indneutralize(close, subindustry)",
    "clamp(close, lower=0, upper=100) + rank(close, rate=2)": "(clip(close, 0, 100) + rank(close))",
    "quantile(ts_scale(close, 5, constant=0.0), driver=gaussian, sigma=1.0)": (
        "gauss_rank(((close - ts_min(close, 5)) / (ts_max(close, 5) - ts_min(close, 5))))"
    ),
    "ts_arg_max(close, 5) ^ 2 % 3 == 1 && !is_nan(open)": (
        "((((ts_argmax(close, 5) ^ 2) % 3) == 1) && (!isnan(open)))"
    ),
}


@pytest.mark.parametrize(("source", "text"), QLIB.items())
def test_a_formula_of_qlibs_becomes(source, text):
    found = translate(source, "qlib")
    assert (found.text, found.source, found.dialect, found.conventions.name) == (text, source, "qlib", "qlib")
    parse(found.text, found.conventions)


@pytest.mark.parametrize(("source", "text"), BRAIN.items())
def test_a_formula_of_brains_becomes(source, text):
    found = translate(source, "brain")
    assert found.text == text
    parse(found.text, found.conventions)


def test_the_signs_of_print_become_those_of_the_language_in_every_formula_of_the_paper():
    printed = str.maketrans({"-": "\u2212", "*": "\u00d7", "/": "\u00f7", '"': "\u201d"})
    paper = [entry for entry in whole_catalogue().entries.values() if entry.category == "alpha101"]
    assert len(paper) > 90
    for entry in paper:
        plain = entry.formula.strip()
        number = entry.id.removeprefix("alpha101_")
        assert translate(f"Alpha#{int(number)}: {plain}", "paper").text == plain
        copied = plain.translate(printed).replace("<=", "\u2264").replace(">=", "\u2265").replace("fi", "\ufb01")
        assert translate(copied, "paper").text == plain, plain
    assert translate("rank(open)\u00a0\u2013 1;", "paper").text == "rank(open) - 1"


REFUSED = [
    ("qlib", "Mean($close, 5) + Meen($open, 5)", (1, 19), "unknown operator 'Meen'", "Mean"),
    ("qlib", "1 +\n Ref($clse, 1)", (2, 6), "unknown feature '$clse'", "$close"),
    ("qlib", "Ref($close, -1)", (1, 13), "looks into the future", "1 or more"),
    ("qlib", "Mean($close, 0)", (1, 14), "expanding window", "1 or more"),
    ("qlib", "Mean($close, 2.5)", (1, 14), "a window of 2.5 rows", "whole number"),
    ("qlib", "Mean($close)", (1, 1), "Mean has 1 arguments", "2"),
    ("qlib", "$close +", (2, 1), "not an expression of qlib's", None),
    ("qlib", "P($$roewa_q)", (1, 3), "period features", None),
    ("qlib", "__import__('os').system('true')", (1, 1), "is not a part of qlib's expressions", None),
    ("qlib", "[x for x in 3]", (1, 1), "ListComp is not a part", None),
    ("qlib", "close + 1", (1, 1), "unknown name 'close'", "$close"),
    ("brain", "ts_stddev(close, 5)", (1, 1), "unknown operator 'ts_stddev'", "ts_std_dev"),
    ("brain", "1 +\nrank(close, rate=0)", (2, 1), "rank with rate=0 is not supported", "the default"),
    ("qlib", "$close > 1 and $open > 1", (1, 1), "'and', 'or' is not a part", "(x) & (y)"),
    ("qlib", "1 < $close < 3", (1, 1), "a chain of comparisons", "And(a < b, b < c)"),
    ("qlib", "$close if $open > 1 else 2", (1, 1), "'x if c else y'", "If(c, x, y)"),
    ("qlib", "$close % 2", (1, 1), "this sign is not a part", "**"),
    ("qlib", "MEAN($close, 5)", (1, 1), "unknown operator 'MEAN'", "Mean"),
    ("brain", "hump(rank(close), hump=0.01)", (1, 1), "holds positions", "where"),
    (
        "brain",
        'rank(close) +\n group_rank(close, bucket(rank(cap), range="0.1,1,0.1"))',
        (2, 20),
        "bucket makes groups",
        "subindustry",
    ),
    ("brain", "clamp(close, lower=0)", (1, 1), "clamp has 2 arguments", "3"),
    ("brain", "add(close)", (1, 1), "add has 1 arguments", "2 or more"),
    ("brain", "rank(close, 0)", (1, 1), "rank with rate=0", "the default"),
    ("brain", "trade_when(volume > adv20, close, -1)", (1, 1), "holds positions", "where"),
    ("brain", "ts_delta(close, 5", (1, 18), "unexpected end", "','"),
]


@pytest.mark.parametrize(("dialect", "text", "place", "words", "expected"), REFUSED)
def test_what_is_not_of_the_dialect_is_refused_with_its_place_and_what_could_stand_there(
    dialect, text, place, words, expected
):
    with pytest.raises(FormulaError, match="line") as refused:
        translate(text, dialect)
    assert words in refused.value.message
    assert refused.value.position == place
    assert any(expected in what for what in refused.value.expected) == (expected is not None)


@pytest.mark.parametrize(
    ("text", "dialect"), [("Meen($close, 5)", "qlib"), ("ts_devia(close, 5)", "brain"), ("$xqzzy", "qlib")]
)
def test_an_unknown_name_suggests_the_nearest_three(text, dialect):
    with pytest.raises(FormulaError) as refused:
        translate(text, dialect)
    assert len(refused.value.expected) == 3


@pytest.mark.parametrize("text", ["mea(close, 5)", "clos + 1", "qqqqq"])
def test_an_unknown_name_of_the_library_suggests_the_nearest_three(text):
    with pytest.raises(FormulaError) as refused:
        parse(text)
    assert len(refused.value.expected) == 3


def test_an_unknown_dialect_names_the_known_ones():
    with pytest.raises(FormulaError, match="unknown dialect 'zipline'; expected qlib, brain, paper"):
        translate("close", "zipline")


def test_a_field_that_brain_has_in_millions_is_told():
    (note,) = [note for note in translate("log(cap) + cap", "brain").notes if "millions" in note]
    assert note.startswith("cap ")
    assert not [note for note in translate("cap = close; log(cap)", "brain").notes if "millions" in note]


def test_the_language_itself_takes_a_semicolon_at_the_end():
    assert parse("a = close; a + 1;").root.name == "add"


def over(d, statistic, *names):
    """Of each window of `d` rows without a gap, name by name."""

    def compute(f):
        panels = [f[name] for name in names]
        out = np.full(panels[0].shape, np.nan)
        for t in range(d - 1, len(out)):
            for j in range(out.shape[1]):
                windows = [panel[t - d + 1 : t + 1, j] for panel in panels]
                if np.isfinite(windows).all():
                    out[t, j] = statistic(*windows)
        return out

    return compute


def across(statistic):
    """Of each date's known closes."""

    def compute(f):
        out = np.full(f["close"].shape, np.nan)
        for row, found in zip(f["close"], out, strict=True):
            known = np.isfinite(row)
            found[known] = statistic(row[known])
        return out

    return compute


DEFINITIONS = {
    "ts_std_dev(close, 6)": over(6, np.std, "close"),
    "ts_arg_max(close, 6)": over(6, lambda x: 5 - np.argmax(x), "close"),
    "ts_rank(close, 6)": over(6, lambda x: ((x < x[-1]).sum() + ((x == x[-1]).sum() - 1) / 2) / 5, "close"),
    "ts_corr(close, volume, 6)": over(
        6, lambda x, y: np.corrcoef(x, y)[0, 1] if np.ptp(x) > 0 else np.nan, "close", "volume"
    ),
    "ts_covariance(close, volume, 6)": over(6, lambda x, y: np.cov(x, y, ddof=0)[0, 1], "close", "volume"),
    "ts_decay_linear(close, 3)": over(3, lambda x: (x[0] + 2 * x[1] + 3 * x[2]) / 6, "close"),
    # Its adv20 is an average of volume in shares, which it is compared with; the paper's is of money.
    "volume / adv20": over(20, lambda x: x[-1] / x.mean(), "volume"),
    "ts_av_diff(close, 6)": over(6, lambda x: x[-1] - x.mean(), "close"),
    "ts_scale(close, 6)": over(6, lambda x: (x[-1] - x.min()) / np.ptp(x) if np.ptp(x) > 0 else np.nan, "close"),
    "ts_ir(volume, 6)": over(6, lambda x: x.mean() / x.std(), "volume"),
    "ts_zscore(volume, 6)": over(6, lambda x: (x[-1] - x.mean()) / x.std(), "volume"),
    "ts_returns(close, 4)": lambda f: np.vstack([np.full((4, 9), np.nan), f["close"][4:] / f["close"][:-4] - 1]),
    "ts_product(returns, 3)": over(3, np.prod, "returns"),
    "ts_regression(close, volume, 6, rettype=2)": over(6, lambda y, x: np.polyfit(x, y, 1)[0], "close", "volume"),
    "ts_percentage(close, 6, percentage=0.25)": over(6, lambda x: np.quantile(x, 0.25), "close"),
    "ts_decay_exp_window(close, 6, factor=0.5)": over(
        6, lambda x: (x * 0.5 ** np.arange(5, -1, -1)).sum() / (0.5 ** np.arange(6)).sum(), "close"
    ),
    "ts_min_max_cps(close, 6)": over(6, lambda x: x.min() + x.max() - 2 * x[-1], "close"),
    "ts_min_max_diff(close, 6, f=0.25)": over(6, lambda x: x[-1] - 0.25 * (x.min() + x.max()), "close"),
    "sigmoid(returns)": lambda f: 1 / (1 + np.exp(-f["returns"])),
    "log_diff(close)": lambda f: np.vstack([np.full((1, 9), np.nan), np.log(f["close"][1:] / f["close"][:-1])]),
    "fraction(close)": lambda f: f["close"] - np.floor(f["close"]),
    "clamp(close, 45, 55)": lambda f: np.clip(f["close"], 45, 55),
    "normalize(close, useStd=true)": across(lambda x: (x - x.mean()) / x.std(ddof=1)),
    "group_scale(close, market)": across(lambda x: (x - x.min()) / np.ptp(x)),
    "group_normalize(close, market)": across(lambda x: x / np.abs(x).sum()),
    "rank(close)": across(lambda x: x.argsort().argsort() / (len(x) - 1)),
    "scale(close)": across(lambda x: x / np.abs(x).sum()),
    "group_neutralize(close, market)": across(lambda x: x - x.mean()),
    "zscore(close)": across(lambda x: (x - x.mean()) / x.std(ddof=1)),
    "s_log_1p(returns)": lambda f: np.sign(f["returns"]) * np.log1p(np.abs(f["returns"])),
    "signed_power(returns, 0.5)": lambda f: np.sign(f["returns"]) * np.sqrt(np.abs(f["returns"])),
}


@pytest.mark.parametrize("text", DEFINITIONS)
def test_an_operator_of_brains_computes_what_its_documentation_says(text, panel_of):
    panel = panel_of(40, 9, seed=4)
    found = translate(text, "brain")
    library = compile_library({"x": parse(found.text, found.conventions)})
    ours = library.run(panel.fields, groups=panel.groups, dates=panel.dates)["x"]
    assert np.isfinite(ours).sum() > 100
    np.testing.assert_allclose(ours, DEFINITIONS[text](panel.fields), rtol=1e-8, atol=1e-8)


def test_a_group_scaled_as_brain_does_runs_from_0_to_1_and_normalised_its_sizes_sum_to_1(panel_of):
    panel = panel_of(40, 9, seed=4)
    texts = {"scaled": "group_scale(close, sector)", "normal": "group_normalize(close, sector)"}
    texts["neutral"] = "vector_neut(close, open)"
    found = {name: translate(text, "brain") for name, text in texts.items()}
    library = compile_library({name: parse(one.text, one.conventions) for name, one in found.items()})
    values = library.run(panel.fields, groups=panel.groups, dates=panel.dates)
    codes, looked = panel.groups["sector"], 0
    for t in range(len(panel.dates)):
        for code in np.unique(codes[t][codes[t] >= 0]):
            x = values["scaled"][t][(codes[t] == code) & np.isfinite(panel.fields["close"][t])]
            sizes = values["normal"][t][(codes[t] == code) & np.isfinite(panel.fields["close"][t])]
            if len(x) > 1:
                assert (x.min(), x.max()) == (0.0, 1.0)
                assert np.abs(sizes).sum() == pytest.approx(1.0)
                looked += 1
    assert looked > 20
    rest, x = values["neutral"], panel.fields["open"]
    np.testing.assert_allclose(np.nansum(rest * x, axis=1), 0.0, atol=1e-6)
