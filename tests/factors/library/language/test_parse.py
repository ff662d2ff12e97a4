import pickle
from pathlib import Path

import pytest

from factors.library import PAPER, FormulaError, parse
from factors.library.language import limits
from factors.library.language.conventions import conventions
from factors.library.language.syntax import Term

DATA = Path(__file__).parents[4] / ".." / "shared" / "data"


def shape(term: Term) -> str:
    if term.kind == "number":
        return f"{term.value:g}"
    if term.kind == "name":
        return term.name
    return f"{term.name}({','.join(shape(a) for a in term.args)})"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("open + high * low", "add(open,mul(high,low))"),
        ("-close^2", "neg(power(close,2))"),
        ("close^2^3", "power(close,8)"),
        ("close^open^low", "power(close,power(open,low))"),
        ("open - high - low", "sub(sub(open,high),low)"),
        (
            "open < high || low > open && !(close == open)",
            "logical_or(lt(open,high),logical_and(gt(low,open),logical_not(eq(close,open))))",
        ),
        ("open < high ? low : close", "where(lt(open,high),low,close)"),
        ("open<high ? low : open<low ? 1 : 2", "where(lt(open,high),low,where(lt(open,low),1,2))"),
        ("Ts_Rank(CLOSE, 5)", "ts_rank(close,5)"),
        ("IndNeutralize(vwap, IndClass.sector)", "indneutralize(vwap,sector)"),
        ("SMA(VOL, 21, 2)", "sma(volume,21,2)"),
        ("COVIANCE(RANK(cap), ret, 5)", "cov(rank(market_cap),returns,5)"),
        ("REGBETA(CLOSE, SEQUENCE(20), 20)", "slope(close,20)"),
        ("REGBETA(CLOSE, SEQUENCE(20))", "slope(close,20)"),
        ("x = high - low; x / x", "div(sub(high,low),sub(high,low))"),
        ("sum(close, 12 * 21)", "sum(close,252)"),
        ("# a comment\nclose # another", "close"),
        ("delay(close)", "delay(close,1)"),
    ],
)
def test_text_reads_as_the_tree_the_grammar_says(text, tree):
    assert shape(parse(text).root) == tree


@pytest.mark.parametrize(("rule", "window"), [("floor", 8), ("round", 9), ("ceil", 9)])
def test_a_fractional_window_follows_its_convention(rule, window):
    root = parse("sum(close, 8.6911)", conventions({"window_fraction": rule})).root
    assert root.args[1].value == window


def test_max_of_a_constant_is_rolling_by_the_paper_and_elementwise_on_request():
    assert parse("max(close, 5)").root.name == "ts_max"
    assert parse("max(close, 0)").root.name == "max"
    assert parse("maximum(close, 5)").root.name == "maximum"
    assert parse("max(close, 5)", conventions({"minmax_constant": "elementwise"})).root.name == "max"


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("rank(close", 1, 11, "')'"),
        ("rank(close,,3)", 1, 12, "a name"),
        ("close +\n  * open", 2, 3, "a name"),
        ("clse + 1", 1, 1, "close"),
        ("rnk(close)", 1, 1, "rank"),
        ("sum(close, open)", 1, 12, "a constant integer"),
        ("sum(close, 5000)", 1, 12, f"1 to {limits.MAX_WINDOW_ROWS}"),
        ("rank(sector)", 1, 6, "a panel"),
        ("indneutralize(close, close)", 1, 22, "industry"),
        ("close ? open : low", 1, 1, "a comparison or other bool"),
        ("mean(close, 10, ddof=1)", 1, 17, "min_periods"),
        ("mean(close, 10, min_periods=20)", 1, 1, "1 to 10"),
        ("rank(close, 2)", 1, 1, "rank(x)"),
        ("close = 3; close", 1, 1, "a new name"),
        ("close $ open", 1, 7, "'+'"),
        ("", 1, 1, "a name"),
        ("sector", 1, 1, "a panel"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text, line, column, expected):
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert caught.value.position == (line, column)
    assert expected in caught.value.expected


def test_a_field_of_another_dialect_says_which_it_is():
    with pytest.raises(FormulaError, match="'\\$'; fields are written so in the dialect 'qlib'") as caught:
        parse("Ref($close, 1)")
    assert caught.value.position == (1, 5)


def test_an_error_survives_a_process_border():
    with pytest.raises(FormulaError) as caught:
        parse("clse")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.position == (1, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("close" + " + 1" * 3000, "the text has 12005 characters; expected at most 8000"),
        ("-" * 7000 + "close", "deeper than 64 levels"),
        ("abs(" * 100 + "close" + ")" * 100, "deeper than 64 levels"),
        ("; ".join(["a0 = close + open", *(f"a{i} = a{i - 1} * a{i - 1}" for i in range(1, 90)), "a89"]), "deeper"),
        (" + ".join(f"close * {i}" for i in range(500)), "deeper than 64 levels"),
        ("open" * 5000, "the text has 20000 characters; expected at most 8000"),
        ("sum(" * 4 + "close" + ", 1300)" * 4, "looks back 3897 rows; expected at most 3000"),
    ],
)
def test_a_formula_that_is_larger_deeper_or_longer_than_the_bounds_is_refused(text, why):
    from factors.library import compile_library

    with pytest.raises(FormulaError, match=why):
        compile_library({"x": parse(text)})


def test_brackets_alone_are_no_depth():
    assert parse("(" * 3900 + "close" + ")" * 3900).root.depth == parse("close").root.depth <= limits.MAX_DEPTH


@pytest.mark.skipif(not DATA.is_dir(), reason="the published formula texts are not beside the project")
def test_every_published_alpha101_text_reads_as_printed():
    lines = (DATA / "formulas_alpha101.txt").read_text().splitlines()
    texts = [line.lstrip("#").split(":", 1)[1] for line in lines if line.strip()]
    assert len(texts) == 101
    for text in texts:
        assert parse(text, PAPER).root.type in ("panel", "bool")
