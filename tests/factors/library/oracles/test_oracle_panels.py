"""The peers on names that list late, leave and pause, and on real data: the recorded share of cells is equal.

And the same cells are missing: neither says nothing where the other has a value, but where the record or a line here
says so. KunQuant, whose windows go on over a missing value, is held to less: on names that come and go it has a value
wherever we have one, and it is ours.
"""

import numpy as np
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
# Cells of 1.05 million, at most, where KunQuant has no number on real data and we have a value: of a power that is
# infinite (084), and of correlations with a mean volume, all of one of the forty names.
OURS_ALONE = {
    ("kunquant_alpha101", "real"): {"alpha101_036": 99, "alpha101_078": 10, "alpha101_084": 5, "alpha101_098": 260}
}
# A correlation with a missing value is 0 in KunQuant, a comparison false, a place in the window that among what is
# there. In these it takes ranks or sums over names of such values, and so every name's value is another.
SPREAD = {"kunquant_alpha101": {f"alpha101_{n:03}" for n in (1, 15, 17, 18, 28, 34, 38, 50, 77, 78, 98)}}
TIED = 0.97  # least share of a factor whose record leaves room for ties, on cells with a value of both
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
    other = set()  # where a value is not ours, of cells where both have one
    unequal = set()  # where the record says that the same cells are missing
    for row, ours, theirs, there in compared(oracle, fields, tmp_path):
        compared_factors += 1
        share = equal_share(ours, theirs, row, PEERS[oracle][-1], there)
        if share < row.on(panel):
            below[row.factor] = (share, row.on(panel))
        met.add(row.factor, ours, theirs, there)
        spoken = there & np.isfinite(ours) & np.isfinite(theirs)
        if equal_share(ours, theirs, row, PEERS[oracle][-1], spoken) < (1.0 if row.share == 1.0 else TIED):
            other.add(row.factor)
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
    ours_alone = {name: count for name, (count, _) in met.missing.items() if count > 0}
    allowed = OURS_ALONE.get((oracle, panel), {})
    assert ours_alone.keys() == allowed.keys()
    assert all(count <= allowed[name] for name, count in ours_alone.items())
    if oracle.startswith("kunquant"):
        assert panel == "real" or other == SPREAD.get(oracle, set())
    else:
        alone = {name: count for name, (_, count) in met.missing.items() if name in unequal}
        allowed = THEIRS_ALONE.get((oracle, panel), {})
        assert alone.keys() == allowed.keys()
        assert all(count <= allowed[name] for name, count in alone.items())
