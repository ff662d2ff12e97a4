"""What the comparison with closed forms sees: names that list late, pause and leave inside every factor's look-back.

The forms are compared name by name on a few dates (`test_oracle_barra.py` and its like), the missing values too; what
stands here keeps the dates where names have trouble.
"""

import numpy as np
import pytest
import tearing

from factors.library import compile_library


@pytest.fixture(scope="module")
def library(catalogue, ids_of):
    return compile_library({name: catalogue.entries[name] for file in tearing.DATES for name in ids_of(f"{file}.toml")})


@pytest.fixture(scope="module")
def values(library, calculate):
    return calculate(library.ids)


@pytest.fixture(scope="module")
def rows(torn_sample):
    """Where a name has a row: any field of its own."""
    own = [values for name, values in torn_sample.fields.items() if not name.startswith("benchmark")]
    return np.any(np.isfinite(own), axis=0)


def met(rows, date, lookback):
    """Count the names that list, that pause inside the look-back and are back, and that were there and are not."""
    window = rows[max(date - lookback, 0) : date + 1]
    listed = rows.argmax(axis=0)
    late = rows[date] & (listed > date - lookback)
    paused = rows[date] & ~late & (window[1:] < window[:-1]).any(axis=0)
    gone = ~rows[date] & rows[:date].any(axis=0)
    return np.array([late.sum(), paused.sum(), gone.sum()])


# Values that are compared, at least, over all factors of a file and all its dates.
CELLS = {
    "barra": 2480,
    "jkp": 5000,
    "jkp_fundamental": 2450,
    "jkp_fundamental_assets": 2940,
    "openap": 2020,
    "reserve": 4330,
    "reserve_b": 3370,
}


@pytest.mark.parametrize("file", tearing.DATES)
def test_every_factor_is_compared_on_names_that_list_late_pause_and_leave(file, ids_of, library, rows, values):
    compared = 0
    for name in ids_of(f"{file}.toml"):
        lookback = library.lookback[name]
        dates = tearing.DATES[file]
        late, paused, gone = np.sum([met(rows, date, lookback) for date in dates], axis=0)
        assert gone >= 5, name
        if lookback > 0:  # else nothing but the day is looked at
            assert late >= 4, name
            assert paused >= 8, name
        spoken = sum(int(np.isfinite(values[name][date]).sum()) for date in dates)
        assert spoken >= 25, name
        compared += spoken
    assert compared >= CELLS[file]


def test_some_names_lack_an_item_on_the_day_and_have_the_others(torn_sample, rows):
    for date in tearing.COMPARED:
        lacking = [
            int((rows[date] & np.isnan(torn_sample.fields[field][date])).sum())
            for field in ("close", "returns", "volume", "market_cap", "shares", "book", "earnings_q")
        ]
        assert min(lacking) >= 1, date
