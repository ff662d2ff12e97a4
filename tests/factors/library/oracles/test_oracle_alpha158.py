"""Alpha158 against qlib itself, its operators with whole windows, KunQuant's own, and aliases against their factors."""

import numpy as np
import pytest
from oracle_agreement import (
    assert_agrees,
    library_fields,
    oracle_market,
    our_values,
    real_market,
    rows_of,
    run_oracle,
    torn,
    torn_market,
)
from torn_cells import Seen
from whole_catalogue import whole_catalogue

from factors.library import compile_library
from factors.library.definitions.agreement import oracles
from factors.library.definitions.distinct import rank_correlation

pytestmark = pytest.mark.oracle

FEW_NAMES = 4  # nothing in Alpha158 looks across names, and pandas' apply is slow
# Names on a date, at least: where one day in a hundred is missing, a window of 60 days is whole for few.
LEAST = {"whole": 50, "gaps": 15}
CATALOGUE = whole_catalogue()
ALIASES = [name for name in CATALOGUE.aliases if name.startswith("alpha158_")]


@pytest.fixture(scope="module")
def market():
    return oracle_market()


@pytest.fixture(scope="module")
def few(market):
    return {name: values[:, :FEW_NAMES] for name, values in market.items()}


@pytest.fixture(scope="module")
def qlib(few, tmp_path_factory):
    fields = {**few, "listed": np.isfinite(few["close"])}
    return run_oracle("pyqlib_formulas.py", ["alpha158"], fields, tmp_path_factory.mktemp("qlib"))


@pytest.fixture(scope="module")
def with_whole_windows(few, tmp_path_factory):
    return run_oracle("qlib_alpha158.py", [], few, tmp_path_factory.mktemp("strict"))


@pytest.fixture(scope="module")
def kunquant(market, tmp_path_factory):
    return run_oracle("kunquant_factors.py", ["alpha158"], market, tmp_path_factory.mktemp("kunquant"))


@pytest.fixture(scope="module")
def ours(market, few):
    return {
        "qlib_alpha158": our_values("qlib_alpha158", few),
        "qlib_alpha158_strict": our_values("qlib_alpha158_strict", few),
        "kunquant_alpha158": our_values("kunquant_alpha158", market),
    }


def name_of(row):
    return row.factor.removeprefix("alpha158_")


@pytest.mark.parametrize("row", rows_of("qlib_alpha158"))
def test_the_preset_qlib_gives_qlibs_values_from_the_first_row(row, ours, qlib):
    assert_agrees(ours["qlib_alpha158"][row.factor][0], qlib[name_of(row)], row, rtol=1e-7)


def test_a_comparison_with_what_is_not_there_is_false_in_the_preset_qlib_as_in_qlib(few, ours, qlib):
    """The first day has no day before: neither up nor down."""
    close = few["close"][:4, 0]
    up = np.diff(close, prepend=np.nan) > 0
    for found in (ours["qlib_alpha158"]["alpha158_cntp5"][0], qlib["cntp5"]):
        np.testing.assert_allclose(found[:4, 0], np.cumsum(up) / np.arange(1, 5))
        assert found[0, 0] == 0.0


def test_days_up_and_down_are_qlibs_on_a_price_that_rises_once_and_falls_twice(market, tmp_path):
    fields = {name: values[:4, :1].copy() for name, values in market.items()}
    fields["close"][:, 0] = 10.0, 11.0, 10.0, 9.0
    theirs = run_oracle("pyqlib_formulas.py", ["alpha158"], {**fields, "listed": np.ones((4, 1), bool)}, tmp_path)
    values = our_values("qlib_alpha158", fields)
    up, down = [0.0, 1 / 2, 1 / 3, 1 / 4], [0.0, 0.0, 1 / 3, 2 / 4]
    for kind, expected in {"cntp": up, "cntn": down, "cntd": np.subtract(up, down)}.items():
        for days in (5, 10, 20, 30, 60):
            for found in (values[f"alpha158_{kind}{days}"][0], theirs[f"{kind}{days}"]):
                np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12, err_msg=f"{kind}{days}")


@pytest.mark.parametrize("row", rows_of("qlib_alpha158_strict"))
def test_the_default_gives_qlibs_values_with_whole_windows(row, ours, with_whole_windows):
    assert_agrees(ours["qlib_alpha158_strict"][row.factor][0], with_whole_windows[name_of(row)], row, rtol=1e-7)


@pytest.mark.parametrize("panel", ["gaps", "real"])
def test_the_default_gives_qlibs_values_also_where_names_list_late_leave_and_pause(panel, tmp_path):
    """Every cell of the panel, before a listing and after a leaving too; the same cells are missing."""
    fields = torn_market(10) if panel == "gaps" else real_market(6)
    if fields is None:
        pytest.skip("the real panel is not beside the project: ../shared/data/sp500_2014_2018.parquet")
    theirs, ours = run_oracle("qlib_alpha158.py", [], fields, tmp_path), our_values("qlib_alpha158_strict", fields)
    everywhere, met = np.ones(fields["close"].shape, dtype=bool), Seen(fields)
    for row in oracles()["qlib_alpha158_strict"].agreements:
        values, expected = ours[row.factor][0], theirs[name_of(row)]
        assert row.share == 1.0
        assert_agrees(values, expected, row, rtol=1e-7)
        met.add(row.factor, values, expected, everywhere)
    assert met.missing == {}
    if panel == "gaps":
        assert met.names == {"late": 3, "back": 6, "gone": 2}
        assert met.values["late"] > 11_500
        assert met.values["back"] > 67_000
    assert met.values["all"] > {"gaps": 380_000, "real": 335_000}[panel]


@pytest.mark.parametrize("row", rows_of("kunquant_alpha158"))
def test_the_default_gives_kunquants_values_after_the_rows_it_calls_unreliable(row, ours, kunquant):
    name = name_of(row).upper()
    first = int(kunquant[f"unreliable_{name}"])
    assert_agrees(ours["kunquant_alpha158"][row.factor][0], kunquant[name], row, first_row=first, rtol=1e-7)


@pytest.mark.parametrize("oracle", ["qlib_alpha158", "qlib_alpha158_strict", "kunquant_alpha158"])
def test_every_one_of_the_158_has_a_record(oracle):
    every = {name for name in (*CATALOGUE.entries, *CATALOGUE.aliases) if name.startswith("alpha158_")}
    assert len(every) == 158
    assert {row.factor for row in oracles()[oracle].agreements} == every


@pytest.fixture(scope="module", params=["whole", "gaps"])
def pairs(market, request):
    texts = {name: CATALOGUE.aliases[name].formula for name in ALIASES}
    targets = {CATALOGUE.aliases[name].alias_of for name in ALIASES}
    texts |= {name: CATALOGUE.entries[name].formula for name in targets}
    arrays, rest = library_fields(market if request.param == "whole" else torn(market))
    return request.param, compile_library(texts).run(arrays, **rest)


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_ranks_names_as_its_factor_does(name, pairs):
    """Where names come and go, too, but twins by measure alone: how far they agree is the market's doing."""
    panel, values = pairs
    alias = CATALOGUE.aliases[name]
    np.testing.assert_array_equal(np.isfinite(values[name]), np.isfinite(values[alias.alias_of]))
    if panel == "whole" or alias.relation != "rank-identical":
        assert rank_correlation(values[name], values[alias.alias_of], min_names=LEAST[panel]) > 0.999
