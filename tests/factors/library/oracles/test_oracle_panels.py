"""The peers on names that list late, leave and pause, and on real data: the recorded share of cells is equal.

And the same cells are missing: neither says nothing where the other has a value, but where the record or a line here
says so. KunQuant is left out of that: it is made for markets without gaps and carries a missing value on.
"""

import pytest
from oracle_agreement import PEERS, compared, equal_share, real_market, torn_market
from torn_cells import Seen

pytestmark = pytest.mark.oracle

# Cells, at most, where the peer has a value and we have none, of factors whose record says that the same are missing.
# A quotient by 0 is infinite there: the highest rank in 056, and 0 where 083 divides by it. In 090 it takes 1 to a
# missing power as 1. Ours are missing.
THEIRS_ALONE = {
    ("alpha101v", "real"): {"alpha101_056": 107, "alpha101_083": 37},
    ("alpha101v_paper", "gaps"): {"alpha101_090": 6},
    ("alpha101v_paper", "real"): {"alpha101_056": 107, "alpha101_083": 37, "alpha101_090": 11},
}
# Values of both, at least: on all cells of the torn market, in the first 60 rows of a late listing, in the 60 rows
# after a pause; and on all cells of the real one, whose forty names are there on every day.
VALUES = {
    "alpha101v": (960_000, 9_700, 290_000, 1_150_000),
    "alpha101v_paper": (960_000, 9_700, 290_000, 1_150_000),
    "kunquant_alpha101": (770_000, 7_400, 230_000, 1_050_000),
    "kunquant_alpha158": (1_750_000, 17_000, 530_000, 2_250_000),
    "qlib_alpha158": (2_240_000, 28_000, 890_000, 2_390_000),
}


@pytest.mark.parametrize("panel", ["gaps", "real"])
@pytest.mark.parametrize("oracle", PEERS)
def test_a_peer_agrees_in_the_recorded_share_of_cells_on_other_markets(oracle, panel, tmp_path):
    fields = torn_market() if panel == "gaps" else real_market()
    if fields is None:
        pytest.skip("the real panel is not beside the project: ../shared/data/sp500_2014_2018.parquet")
    below, compared_factors, met = {}, 0, Seen(fields)
    unequal = set()  # where the record says that the same cells are missing
    for row, ours, theirs, there in compared(oracle, fields, tmp_path):
        compared_factors += 1
        share = equal_share(ours, theirs, row, PEERS[oracle][-1], there)
        if share < row.on(panel):
            below[row.factor] = (share, row.on(panel))
        met.add(row.factor, ours, theirs, there)
        if row.missing == "equal":
            unequal.add(row.factor)
    assert below == {}
    assert compared_factors > 50
    every, late, back, on_real_data = VALUES[oracle]
    if panel == "gaps":
        assert met.names == {"late": 4, "back": 36, "gone": 3}
        assert met.values["late"] >= late
        assert met.values["back"] >= back
    assert met.values["all"] >= (every if panel == "gaps" else on_real_data)
    if not oracle.startswith("kunquant"):
        assert [name for name, (alone, _) in met.missing.items() if alone > 0] == []
        alone = {name: count for name, (_, count) in met.missing.items() if name in unequal}
        allowed = THEIRS_ALONE.get((oracle, panel), {})
        assert alone.keys() == allowed.keys()
        assert all(count <= allowed[name] for name, count in alone.items())
