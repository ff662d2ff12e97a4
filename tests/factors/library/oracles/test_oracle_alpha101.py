"""Alpha101 against alpha101v (all 101, under both its conventions) and KunQuant (82), as the agreement records say."""

import numpy as np
import pytest
from oracle_agreement import assert_agrees, oracle_market, our_values, rows_of, run_oracle
from whole_catalogue import whole_catalogue

from factors.library.definitions.agreement import oracles

pytestmark = pytest.mark.oracle

POWER_DIGITS = 1e-6  # KunQuant's power function is good to seven digits


@pytest.fixture(scope="module")
def market():
    return oracle_market()


@pytest.fixture(scope="module")
def as_it_comes(market, tmp_path_factory):
    return run_oracle("alpha101v_factors.py", ["own"], market, tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def set_to_the_paper(market, tmp_path_factory):
    return run_oracle("alpha101v_factors.py", ["paper"], market, tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def kunquant(market, tmp_path_factory):
    return run_oracle("kunquant_factors.py", ["alpha101"], market, tmp_path_factory.mktemp("kunquant"))


@pytest.fixture(scope="module")
def ours(market):
    return {oracle: our_values(oracle, market) for oracle in ("alpha101v", "alpha101v_paper", "kunquant_alpha101")}


def number(row):
    return int(row.factor.removeprefix("alpha101_"))


@pytest.mark.parametrize("row", rows_of("alpha101v"))
def test_the_preset_alpha101v_gives_its_values_as_it_comes(row, ours, as_it_comes):
    assert_agrees(ours["alpha101v"][row.factor][0], as_it_comes[f"alpha{number(row)}"], row)


@pytest.mark.parametrize("row", rows_of("alpha101v_paper"))
def test_the_paper_conventions_give_its_values_with_its_switches_set_to_the_paper(row, ours, set_to_the_paper):
    assert_agrees(ours["alpha101v_paper"][row.factor][0], set_to_the_paper[f"alpha{number(row)}"], row)


@pytest.mark.parametrize("row", rows_of("kunquant_alpha101"))
def test_the_preset_kunquant_gives_its_values_after_the_rows_it_calls_unreliable(row, ours, kunquant):
    name = f"alpha{number(row):03d}"
    first = int(kunquant[f"unreliable_{name}"])
    assert_agrees(ours["kunquant_alpha101"][row.factor][0], kunquant[name], row, first_row=first, rtol=POWER_DIGITS)


def test_every_alpha_has_a_record_with_each_oracle():
    every = {name for name, entry in whole_catalogue().entries.items() if entry.category == "alpha101"}
    assert len(every) == 101
    assert {row.factor for row in oracles()["alpha101v"].agreements} == every
    assert {row.factor for row in oracles()["alpha101v_paper"].agreements} == every
    assert len(oracles()["kunquant_alpha101"].agreements) == 82


def test_a_wrong_window_would_be_noticed(ours, set_to_the_paper):
    row = next(row for row in oracles()["alpha101v_paper"].agreements if row.factor == "alpha101_006")
    shifted = np.roll(ours["alpha101v_paper"][row.factor][0], 1, axis=0)
    with pytest.raises(AssertionError, match="cells are equal"):
        assert_agrees(shifted, set_to_the_paper["alpha6"], row)
