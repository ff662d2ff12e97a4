"""A table written into the shape of another is what polars writes of it, to the byte."""

import numpy as np
import polars as pl
import pytest

from contracts.arrow_table import TableShape, in_single
from contracts.frames import encode


@pytest.mark.parametrize("n_rows", [1, 3, 64, 500])
@pytest.mark.parametrize("n_columns", [1, 2, 40])
def test_a_table_of_a_shape_is_what_polars_writes_of_it(n_rows, n_columns):
    symbols = [f"S{i}" for i in range(n_rows)]
    names = [f"f{i}" for i in range(n_columns)]
    shape = TableShape({"symbol": symbols}, ("date",), names)
    rng = np.random.default_rng(0)
    for day in (np.datetime64("2024-01-02"), np.datetime64("1969-12-30")):
        values = rng.standard_normal((n_columns, n_rows))
        values[rng.random(values.shape) < 0.3] = np.nan
        columns = [pl.Series("date", np.full(n_rows, day)), pl.Series("symbol", symbols, dtype=pl.String)]
        columns += [pl.Series(name, row, nan_to_null=False) for name, row in zip(names, values, strict=True)]
        assert shape.write(values, day) == encode(pl.DataFrame(columns))


@pytest.mark.parametrize("n_rows", [1, 3, 500])
def test_a_table_in_single_precision_is_what_polars_writes_of_it_at_half_the_size(n_rows):
    symbols = [f"S{i}" for i in range(n_rows)]
    names = [f"f{i}" for i in range(40)]
    values = np.random.default_rng(0).standard_normal((40, n_rows))
    values[0] = np.nan
    values[1] = 1e300
    found = TableShape({"symbol": symbols}, (), names, single=True).write(values)
    columns = [pl.Series("symbol", symbols, dtype=pl.String)]
    columns += [pl.Series(name, row, nan_to_null=False) for name, row in zip(names, in_single(values), strict=True)]
    assert found == encode(pl.DataFrame(columns))
    read = pl.read_ipc_stream(found)
    assert set(read.dtypes[1:]) == {pl.Float32}
    np.testing.assert_allclose(read.select(names[2:]).to_numpy().T, values[2:], rtol=2.0**-24)
    assert np.isnan(read["f0"].to_numpy()).all()
    assert np.isinf(read["f1"].to_numpy()).all(), "beyond the range it is infinite, not missing"
    double = TableShape({"symbol": symbols}, (), names).write(values)
    assert len(double) - len(found) >= 40 * (4 * n_rows - 64), "a column's bytes are filled up to 64"


def test_a_table_without_dates_and_one_of_another_size():
    shape = TableShape({"symbol": ["A", "B"]}, (), ["x"])
    found = pl.read_ipc_stream(shape.write(np.array([[1.0, np.nan]])))
    assert found["x"].to_list()[0] == 1.0
    with pytest.raises(ValueError, match="expected"):
        shape.write(np.zeros((2, 2)))
