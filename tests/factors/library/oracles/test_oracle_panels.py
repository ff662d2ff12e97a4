"""The peers on names that list late, leave and pause, and on real data: the recorded share of cells is equal."""

import pytest
from oracle_agreement import PEERS, real_market, shares, torn_market

from factors.library.definitions.agreement import oracles

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("panel", ["gaps", "real"])
@pytest.mark.parametrize("oracle", PEERS)
def test_a_peer_agrees_in_the_recorded_share_of_cells_on_other_markets(oracle, panel, tmp_path):
    fields = torn_market() if panel == "gaps" else real_market()
    if fields is None:
        pytest.skip("the real panel is not beside the project: ../shared/data/sp500_2014_2018.parquet")
    found = shares(oracle, fields, tmp_path)
    recorded = {row.factor: row.on(panel) for row in oracles()[oracle].agreements}
    assert len(found) > 50
    below = {name: (share, recorded[name]) for name, share in found.items() if share < recorded[name]}
    assert below == {}
