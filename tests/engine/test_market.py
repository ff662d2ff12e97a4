import polars as pl
import pytest

from contracts import frames
from contracts.settings import settings
from engine.errors import StartError
from engine.market import require_columns, take
from engine.market_file import data_market, sample


@pytest.fixture
def table():
    from factors.sample.market import sample_market

    panel = sample_market(n_assets=30, n_days=40).panel.to_frame()
    return panel.select("date", "symbol", "asset_returns", "market_cap", "sector")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow", "ipc"])
def test_every_format_gives_the_same_market(tmp_path, table, suffix, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    path = tmp_path / f"market.{suffix}"
    write = {
        "parquet": table.write_parquet,
        "csv": table.write_csv,
        "arrow": table.write_ipc_stream,
        "ipc": table.write_ipc,
    }
    write[suffix](path)
    market = data_market(path, tmp_path)
    read = frames.decode(market.request()["feature_data"])
    settings.cache_clear()
    assert read.height == table.height
    assert read["date"].dtype == pl.Date
    assert market.model_id == "main"
    assert market.request()["request_id"] == market.fingerprint
    caps = table.filter(pl.col("date") == pl.col("date").max()).sort("market_cap", descending=True, nulls_last=True)
    assert list(market.largest) == caps["symbol"].head(3).to_list()


def test_the_same_file_has_the_same_fingerprint_and_another_a_different_one(tmp_path, table):
    table.write_parquet(tmp_path / "a.parquet")
    table.head(100).write_parquet(tmp_path / "b.parquet")
    first = data_market(tmp_path / "a.parquet", tmp_path)
    assert data_market(tmp_path / "a.parquet", tmp_path).fingerprint == first.fingerprint
    assert data_market(tmp_path / "b.parquet", tmp_path).fingerprint != first.fingerprint


def test_one_hot_sectors_are_found_without_a_sector_column(tmp_path, table):
    one_hot = table.drop("sector").with_columns(
        [(table["sector"] == name).fill_null(value=False).cast(pl.Int8).alias(name) for name in ("Energy", "Utilities")]
    )
    one_hot.write_parquet(tmp_path / "hot.parquet")
    assert data_market(tmp_path / "hot.parquet", tmp_path).sector_encodings == ("Energy", "Utilities")
    table.write_parquet(tmp_path / "plain.parquet")
    assert data_market(tmp_path / "plain.parquet", tmp_path).sector_encodings is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.parquet", None, "no file"),
        ("market.xlsx", b"x", "must be .parquet"),
        ("broken.parquet", b"PAR1 and no more", "not a readable parquet"),
        ("lacks.csv", b"date,symbol\n2024-01-02,A\n", "asset_returns, market_cap"),
    ],
)
def test_a_file_that_cannot_be_taken_is_named_with_the_reason(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartError, match=said) as refused:
        data_market(path, tmp_path)
    assert name in str(refused.value)


def test_the_sample_is_made_once_and_remembers_that_it_was_loaded(tmp_path, monkeypatch):
    from factors.sample import market as generator

    small = generator.sample_market(n_assets=30, n_days=40)
    calls = []
    monkeypatch.setattr(generator, "sample_market", lambda: calls.append(1) or small)
    first, second = sample(tmp_path), sample(tmp_path)
    assert first == second
    assert calls == [1]
    assert not first.already_loaded()
    first.note_loaded()
    assert second.already_loaded()


def test_a_process_of_its_own_gives_the_same_market_and_the_same_reasons(tmp_path, table):
    table.write_parquet(tmp_path / "a.parquet")
    assert take(tmp_path / "a.parquet", tmp_path, "mine") == data_market(tmp_path / "a.parquet", tmp_path, "mine")
    with pytest.raises(StartError, match="there is no file"):
        take(tmp_path / "none.parquet", tmp_path, None)


def test_the_columns_of_a_file_are_checked_before_anything_is_read(tmp_path, table):
    table.write_parquet(tmp_path / "a.parquet")
    require_columns(tmp_path / "a.parquet", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet"]
    table.drop("market_cap").write_parquet(tmp_path / "lacks.parquet")
    with pytest.raises(StartError, match=r"lacks\.parquet lacks market_cap"):
        require_columns(tmp_path / "lacks.parquet", tmp_path)


SLASHES = b"date,symbol,asset_returns,market_cap\n02/01/2020,A,0.01,1\n13/01/2020,A,0.01,1\n"


def test_dates_that_are_no_iso_dates_are_refused_until_the_settings_say_how_they_are_written(tmp_path):
    path = tmp_path / "prices.csv"
    for content in (SLASHES, SLASHES.replace(b"13/01", b"03/01")):
        path.write_bytes(content)
        with pytest.raises(StartError, match=r"'02/01/2020'.*date_format.*SETTINGS"):
            data_market(path, tmp_path)
    chosen = tmp_path / "model.toml"
    for form, days in (("%m/%d/%Y", ["2020-02-01", "2020-03-01"]), ("%d/%m/%Y", ["2020-01-02", "2020-01-03"])):
        chosen.write_text(f"[intake]\ndate_format = '{form}'\n")
        market = data_market(path, tmp_path, settings=chosen)
        assert pl.read_ipc_stream(market.path)["date"].cast(pl.String).to_list() == days
        assert market.request()["settings"]["intake"]["date_format"] == form
        assert take(path, tmp_path, None, chosen) == market


def test_a_column_of_another_name_is_suggested_and_taken_when_the_settings_say_so(tmp_path):
    path, chosen = tmp_path / "prices.csv", tmp_path / "model.toml"
    path.write_bytes(
        SLASHES.replace(b"symbol", b"Ticker").replace(b"02/01/2020", b"20200102").replace(b"13/01/2020", b"20200113")
    )
    with pytest.raises(StartError, match="Ticker may be symbol: SETTINGS"):
        data_market(path, tmp_path)
    chosen.write_text("[intake]\nsymbol_col = 'Ticker'\n")
    assert data_market(path, tmp_path, settings=chosen).largest == ("A",)
    chosen.write_text("[intake]\nsymbol = 'Ticker'\n")
    with pytest.raises(StartError, match=r"SETTINGS: intake\.symbol is not a setting"):
        data_market(path, tmp_path, settings=chosen)
