"""Real data, and the closed forms of the catalogue held against the library on it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

REAL_PANEL = Path(__file__).parents[2] / "shared" / "data" / "sp500_2014_2018.parquet"
LAST = 1257
"""The last date of the panel, on which the forms are compared."""


def real_panel():
    """Read the real panel; skip where it is not."""
    import polars as pl

    from factors.panel.panel import Panel

    if not REAL_PANEL.exists():
        pytest.skip("the real panel is not beside the project: ../shared/data/sp500_2014_2018.parquet")
    return Panel.from_frame(pl.read_parquet(REAL_PANEL))


@pytest.fixture(scope="session")
def real_sample():
    """Every twelfth name and the 22 that list late, over 1,258 days; of what the panel lacks there is nothing."""
    from factors.library.definitions.fields import library_fields
    from factors.library.language.names import FIELDS

    panel = real_panel()
    late = np.flatnonzero(np.isnan(panel.fields["close"][0]))
    assert len(late) == 22
    chosen = np.union1d(np.arange(0, len(panel.symbols), 12), late)
    held = library_fields(panel.select(symbols=[panel.symbols[name] for name in chosen]))
    fields = {name: np.asarray(values, dtype=float) for name, values in held.fields.items()}
    nothing = {name: np.full(fields["close"].shape, np.nan) for name in FIELDS - set(fields)}
    categories = {name: SimpleNamespace(codes=codes) for name, codes in held.groups.items()}
    return SimpleNamespace(fields=fields | nothing, categories=categories, dates=panel.dates, has=set(fields))


@pytest.fixture(scope="session")
def equal_on_real_data(real_sample, catalogue, calculate, of_today):
    """Hold closed forms, functions of a slow view and a date by id, to the library's values of the last real day.

    Those whose fields the panel has. Gives how many those are, and how many values were compared.
    """
    from fixtures_library import Slow

    from factors.library.compile.compiler import compile_library
    from factors.library.definitions.agreement import oracles

    view = Slow(real_sample)
    lacking = {row.factor for oracle in oracles().values() for row in oracle.agreements if not row.on_real_data}

    def run(forms, *, rtol, atol):
        texts = {name: alias.formula for name, alias in catalogue.aliases.items()}
        inputs = compile_library({name: catalogue.entries.get(name) or texts[name] for name in forms}).inputs
        there = [name for name in forms if set(inputs[name]) <= real_sample.has]
        assert forms.keys() - set(there) == forms.keys() & lacking, "the records say what real data has the fields for"
        values = calculate(there, panel=real_sample)
        compared = 0
        for name, found in values.items():
            form = forms[name](view, LAST)
            expected = of_today(name, LAST, np.where(np.isfinite(form), form, np.nan), view)
            np.testing.assert_allclose(found[LAST], expected, rtol=rtol, atol=atol, err_msg=name)
            compared += int(np.isfinite(expected).sum())
        return len(values), compared

    return run
