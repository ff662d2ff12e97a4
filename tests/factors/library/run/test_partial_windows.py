"""Windows that speak from their first value on: where they say less than full windows, and why."""

import numpy as np
from whole_catalogue import whole_catalogue

from factors.library.compile.compiler import compile_library
from factors.library.definitions.fields import library_fields
from factors.library.language.conventions import conventions
from factors.library.language.syntax import parse
from factors.sample.market import sample_market

PARTS = {"whole": whole_catalogue().entries["gtja191_141"].formula, "price": "rank(high)",
         "volume": "rank(mean(volume, 15))"}  # fmt: skip


def test_a_correlation_of_ranks_is_lost_only_where_with_more_names_a_rank_stands_still():
    """Names whose windows are not full yet have a rank too: it moves when they join, which happens earlier then."""
    panel = sample_market(30, 90).panel
    fields = library_fields(panel).fields
    found = {}
    for least in ("strict", "one"):
        under = conventions({"min_periods": least})
        library = compile_library({name: parse(text, under) for name, text in PARTS.items()})
        found[least] = library.run({name: fields[name] for name in library.fields}, dates=panel.dates)
    lost = np.argwhere(np.isfinite(found["strict"]["whole"]) & ~np.isfinite(found["one"]["whole"]))
    assert len(lost) > 0
    for row, column in lost:
        window = slice(row - 8, row + 1)
        stands = [np.ptp(found["one"][name][window, column]) == 0.0 for name in ("price", "volume")]
        moved = [np.ptp(found["strict"][name][window, column]) > 0.0 for name in ("price", "volume")]
        assert any(stands)
        assert all(moved)
    assert np.isfinite(found["one"]["whole"]).sum() > np.isfinite(found["strict"]["whole"]).sum()
