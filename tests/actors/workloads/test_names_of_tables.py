"""What a table calls its columns, names and sectors: nothing is taken for another, or told under another's name."""

import pytest
from fixtures_actors import ask, start

from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import requests as rq
from contracts.errors import InvalidInput
from contracts.frames import encode
from factors.errors import FactorError
from factors.sample.market import sample_market


@pytest.fixture(scope="module")
def table():
    return sample_market(n_assets=24, n_days=30).panel.to_frame(names={"returns": "asset_returns"})


@pytest.fixture
def create(own_store, table):
    writer = start(FactorModelCreation)

    def run(changed=None, **given):
        frame = table if changed is None else changed
        return ask(writer.create_model, rq.CreateModel(model_id="m", feature_data=encode(frame), **given))

    return run


@pytest.mark.parametrize("name", ["market", "beta", "size"])
def test_a_sector_is_not_called_as_a_factor_that_every_model_has(create, table, name):
    import polars as pl

    first = table["sector"].drop_nulls()[0]
    renamed = table.with_columns(pl.col("sector").cast(pl.String).replace({first: name}))
    with pytest.raises(FactorError, match=f"a sector is called '{name}'") as caught:
        create(renamed)
    assert caught.value.field == "sector"


@pytest.mark.parametrize("key", ["symbol_col", "date_col", "mkt_cap_col"])
def test_a_column_that_is_named_and_not_there_is_not_another(create, key):
    with pytest.raises(InvalidInput, match="feature_data has no column 'nope'") as caught:
        create(**{key: "nope"})
    assert caught.value.field == key


def test_two_things_are_not_in_one_column(create):
    with pytest.raises(InvalidInput, match="symbol_col and date_col both name the column 'date'") as caught:
        create(symbol_col="date")
    assert caught.value.field == "symbol_col"


def test_a_row_whose_symbol_is_empty_is_named(create, table):
    import polars as pl

    first = table["symbol"][0]
    with pytest.raises(InvalidInput, match="a row's symbol is empty") as caught:
        create(table.with_columns(pl.col("symbol").cast(pl.String).replace({first: ""})))
    assert caught.value.field == "feature_data.symbol"
    assert caught.value.rows[0][1] == ""
