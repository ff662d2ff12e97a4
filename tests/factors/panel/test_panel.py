"""Long frames into panels and back."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from factors import FactorError, FactorModel, Panel
from factors.errors import (
    DuplicateRowError,
    EmptyFrameError,
    MissingColumnError,
    NegativeCapError,
    NonFiniteError,
    UnknownDateError,
    UnknownSymbolError,
    WrongTypeError,
)
from factors.panel.dates import parse_dates
from factors.panel.intake import Intake

DAYS = [dt.date(2024, 1, 2), dt.date(2024, 1, 3)]


def frame(**columns):
    base = {
        "date": [DAYS[1], DAYS[0], DAYS[0], DAYS[1]],
        "symbol": ["B", "A", "B", "A"],
        "asset_returns": [0.04, 0.01, None, 0.03],
        "market_cap": [40.0, 10.0, 20.0, 30.0],
        "sector": ["Energy", "Tech", None, "Tech"],
    }
    return pl.DataFrame(base | columns)


def test_an_unsorted_frame_becomes_sorted_wide_arrays():
    panel = Panel.from_frame(frame())
    assert panel.symbols == ("A", "B")
    assert panel.dates.tolist() == DAYS
    np.testing.assert_array_equal(panel.fields["returns"], [[0.01, np.nan], [0.03, 0.04]])
    np.testing.assert_array_equal(panel.fields["market_cap"], [[10.0, 20.0], [30.0, 40.0]])


def test_a_null_sector_is_the_sector_unknown():
    sector = Panel.from_frame(frame()).categories["sector"]
    assert sector.names == ("Energy", "Tech", "Unknown")
    assert sector.codes.tolist() == [[1, 2], [1, 0]]


def test_one_hot_sectors_and_labels_give_the_same_codes():
    hot = frame().drop("sector").with_columns(Tech=pl.Series([0, 1, 0, 1]), Energy=pl.Series([1, 0, 0, 0]))
    sector = Panel.from_frame(hot, sector_encodings=["Tech", "Energy"]).categories["sector"]
    assert sector.names == ("Energy", "Tech", "Unknown")
    assert sector.codes.tolist() == [[1, 2], [1, 0]]


def test_two_sectors_at_once_are_refused_with_the_row():
    hot = frame().drop("sector").with_columns(Tech=pl.Series([1, 1, 0, 1]), Energy=pl.Series([1, 0, 0, 0]))
    with pytest.raises(FactorError, match="at most one 1") as caught:
        Panel.from_frame(hot, sector_encodings=["Tech", "Energy"])
    assert caught.value.rows == (("2024-01-03", "B"),)


def test_to_frame_gives_back_what_came_in():
    panel = Panel.from_frame(frame(sector=["Energy", "Tech", "Tech", "Tech"]))
    expected = frame(sector=["Energy", "Tech", "Tech", "Tech"]).sort("date", "symbol")
    assert_frame_equal(panel.to_frame().select(expected.columns), expected)


@pytest.mark.parametrize(
    ("change", "error", "field", "rows"),
    [
        ({"asset_returns": [0.1, float("inf"), 0.0, 0.0]}, NonFiniteError, "asset_returns", (("2024-01-02", "A"),)),
        ({"asset_returns": [0.1, -1.5, 0.0, 0.0]}, NonFiniteError, "asset_returns", (("2024-01-02", "A"),)),
        ({"market_cap": [1.0, 1.0, -2.0, 1.0]}, NegativeCapError, "market_cap", (("2024-01-02", "B"),)),
        ({"market_cap": [1.0, 1.0, float("inf"), 1.0]}, NonFiniteError, "market_cap", (("2024-01-02", "B"),)),
        ({"symbol": ["B", "A", "A", "C"]}, DuplicateRowError, "symbol", (("2024-01-02", "A"),)),
        (
            {"asset_returns": ["a", "0.1", None, "d"]},
            WrongTypeError,
            "asset_returns",
            (("2024-01-03", "B"), ("2024-01-03", "A")),
        ),
        ({"market_cap": [[1.0], [1.0], [1.0], [1.0]]}, WrongTypeError, "market_cap", ()),
        ({"symbol": [1, 2, 3, 4]}, WrongTypeError, "symbol", ()),
        ({"symbol": ["B", "A", None, "C"]}, FactorError, "symbol", (("2024-01-02", "None"),)),
        ({"date": ["2024-01-02", "2024-01-03", "soon", "2024-01-04"]}, FactorError, "date", ()),
        ({"date": [1, 2, 3, 4]}, WrongTypeError, "date", ()),
    ],
)
def test_bad_rows_are_refused_by_column_and_row(change, error, field, rows):
    with pytest.raises(error) as caught:
        Panel.from_frame(frame(**change))
    assert caught.value.field == field
    assert caught.value.rows == rows


@pytest.mark.parametrize("column", ["date", "symbol", "asset_returns", "market_cap"])
def test_a_missing_column_is_named(column):
    with pytest.raises(MissingColumnError) as caught:
        Panel.from_frame(frame().drop(column))
    assert caught.value.field == column


def test_an_empty_frame_and_what_is_no_frame_are_refused():
    with pytest.raises(EmptyFrameError):
        Panel.from_frame(frame().clear())
    with pytest.raises(WrongTypeError):
        Panel.from_frame({"date": []})
    with pytest.raises(WrongTypeError, match="not int"):
        FactorModel().fit(7)


def test_mixed_time_zones_are_refused_and_one_zone_gives_its_day():
    mixed = ["2024-01-02T00:00:00+00:00", "2024-01-03T00:00:00+05:00", "2024-01-02T00:00:00+00:00", "2024-01-04"]
    with pytest.raises(FactorError, match="mixes the time zones"):
        Panel.from_frame(frame(date=mixed))
    zoned = frame().with_columns(pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York"))
    assert Panel.from_frame(zoned).dates.tolist() == DAYS


def test_infinite_ratios_and_all_null_columns_are_missing():
    panel = Panel.from_frame(frame(book_price=[1.0, float("inf"), 2.0, 3.0], sales_price=[None] * 4))
    assert np.isnan(panel.fields["book_price"][0, 0])
    assert np.isnan(panel.fields["sales_price"]).all()


def test_float32_and_integers_are_read_as_float64():
    panel = Panel.from_frame(
        frame().with_columns(pl.col("asset_returns").cast(pl.Float32), volume=pl.Series([1, 2, 3, 4]))
    )
    assert panel.fields["returns"].dtype == np.float64
    assert panel.fields["volume"].tolist() == [[2.0, 3.0], [4.0, 1.0]]


def test_fundamentals_count_from_the_day_they_are_available():
    rows = pl.DataFrame(
        {
            "date": [dt.date(2024, 1, day) for day in (1, 2, 3, 4)],
            "symbol": ["A"] * 4,
            "asset_returns": [0.1, 0.2, 0.3, 0.4],
            "market_cap": [1.0, 2.0, 3.0, 4.0],
            "book": [10.0, 20.0, 30.0, 40.0],
            "available_at": [None, dt.date(2024, 1, 4), dt.date(2024, 1, 3), dt.date(2024, 2, 1)],
        }
    )
    panel = Panel.from_frame(rows)
    assert panel.fields["book"][:, 0].tolist() == [10.0, 10.0, 30.0, 30.0]
    assert panel.fields["market_cap"][:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_concat_appends_new_symbols_and_categories_at_the_end():
    later = frame(date=[dt.date(2024, 1, 4)] * 4, symbol=["B", "A0", "B2", "A"], sector=["Air", "Tech", "Tech", "Tech"])
    whole = Panel.concat([Panel.from_frame(frame()), Panel.from_frame(later)])
    assert whole.symbols == ("A", "B", "A0", "B2")
    assert whole.categories["sector"].names == ("Energy", "Tech", "Unknown", "Air")
    np.testing.assert_array_equal(whole.fields["market_cap"][2], [30.0, 40.0, 10.0, 20.0])
    assert np.isnan(whole.fields["market_cap"][:2, 2:]).all()
    assert whole.categories["sector"].codes[2].tolist() == [1, 3, 1, 1]


def test_concat_refuses_days_that_do_not_come_after():
    panel = Panel.from_frame(frame())
    with pytest.raises(FactorError, match="does not come after"):
        Panel.concat([panel, panel])


def test_select_and_last_give_parts_and_name_what_is_not_there():
    panel = Panel.from_frame(frame())
    assert panel.last(1).dates.tolist() == DAYS[1:]
    part = panel.select(dates=["2024-01-03"], symbols=["B"])
    assert part.fields["returns"].tolist() == [[0.04]]
    with pytest.raises(UnknownDateError, match="2024-02-01"):
        panel.select(dates=["2024-02-01"])
    with pytest.raises(UnknownSymbolError, match="'Z'"):
        panel.select(symbols=["Z"])


def daily(column, values):
    return pl.DataFrame({"date": DAYS * 2, "symbol": ["A", "A", "B", "B"], "asset_returns": [0.01] * 4,
                         "market_cap": [1.0] * 4, column: values})  # fmt: skip


@pytest.mark.parametrize(
    "column", ["dividends", "earnings", "book", "close", "volume", "split_ratio", "benchmark_close"]
)
def test_text_in_a_field_of_known_meaning_is_refused_with_rows_and_first_values(column):
    with pytest.raises(WrongTypeError, match=r"it holds 'NA', '-'.*na_values") as caught:
        Panel.from_frame(daily(column, ["1.5", "NA", "-", None]))
    assert caught.value.field == column
    assert caught.value.rows == (("2024-01-03", "A"), ("2024-01-02", "B"))
    read = Panel.from_frame(daily(column, ["1.5", "NA", "-", None]), intake=Intake(na_values=("NA", "-")))
    np.testing.assert_array_equal(read.fields[column], [[1.5, np.nan], [np.nan, np.nan]])


def test_numbers_with_some_text_between_are_refused_under_any_name_and_codes_are_categories():
    with pytest.raises(WrongTypeError, match="'NA'"):
        Panel.from_frame(daily("my_signal", ["1.5", "2.5", "NA", "3"]))
    assert Panel.from_frame(daily("my_code", ["10", "20", "10", None])).categories["my_code"].names == ("10", "20")


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        (["Tech", " ", None, "Oil"], ("Oil", "Tech", "Unknown"), [[1, 2], [2, 0]]),
        ([45, 10, None, 45], ("10", "45", "Unknown"), [[1, 2], [0, 1]]),
        ([45.0, 10.0, float("nan"), 45.0], ("10", "45", "Unknown"), [[1, 2], [0, 1]]),
    ],
)
def test_sectors_are_text_whole_numbers_or_float_codes_and_a_missing_one_is_unknown(values, names, codes):
    sector = Panel.from_frame(daily("sector", values)).categories["sector"]
    assert (sector.names, sector.codes.tolist()) == (names, codes)


def test_fractions_are_no_sector_codes():
    with pytest.raises(WrongTypeError, match="fractions"):
        Panel.from_frame(daily("sector", [0.5, 1.0, 2.0, 3.0]))


def test_one_hot_truth_values_and_memberships_are_read_and_several_sectors_are_told():
    hot = daily("Tech", [True, True, False, False]).with_columns(Energy=pl.Series([False, False, True, False]))
    sector = Panel.from_frame(hot, sector_encodings=["Tech", "Energy"]).categories["sector"]
    assert (sector.names, sector.codes.tolist()) == (("Energy", "Tech", "Unknown"), [[1, 0], [1, 2]])
    shares = daily("Tech", [0.7, 1.0, 0.25, 0.0]).with_columns(Energy=pl.Series([0.3, 0.0, 0.75, 1.0]))
    panel = Panel.from_frame(shares, sector_encodings=["Tech", "Energy"])
    assert panel.categories["sector"].codes.tolist() == [[1, 0], [1, 0]]
    assert [(f.kind, f.rows) for f in panel.findings] == [
        ("sector_memberships", (("2024-01-02", "A"), ("2024-01-02", "B")))
    ]
    with pytest.raises(FactorError, match="sum to 1") as caught:
        Panel.from_frame(
            shares.with_columns(Tech=pl.Series([0.9, 1.0, 0.25, 0.0])), sector_encodings=["Tech", "Energy"]
        )
    assert caught.value.rows == (("2024-01-02", "A"),)


def test_issuer_and_asset_id_are_categories_of_any_type_and_missing_ones_stay_missing():
    for values in ([7, 7, None, 8], [7.0, 7.0, None, 8.0], ["7", "7", None, "8"]):
        panel = Panel.from_frame(daily("issuer", values))
        assert panel.categories["issuer"].names == ("7", "8")
        assert panel.categories["issuer"].codes.tolist() == [[0, -1], [0, 1]]


def test_symbols_and_labels_that_differ_by_case_or_blanks_are_told():
    rows = frame(symbol=["brk b", "A", "BRK B", "A "], sector=["Tech", "tech", "Oil", "Oil"])
    found = {finding.kind: finding for finding in Panel.from_frame(rows).quality().findings}
    assert found["symbol_variants"].symbols == ("A", "A ", "BRK B", "brk b")
    assert found["label_variants"].symbols == ("Tech", "tech")
    found.pop("cap_without_return", None)
    assert not {finding.kind for finding in Panel.from_frame(frame()).quality().findings} & set(found)


@pytest.mark.parametrize("column", ["industry", "subindustry", "issuer", "exchange", "country", "asset_id"])
def test_labels_of_every_kind_that_differ_by_case_or_blanks_are_told(column):
    rows = frame(**{column: ["Alpha", "alpha", "Oil", "Oil"]})
    found = [finding for finding in Panel.from_frame(rows).quality().findings if finding.kind == "label_variants"]
    assert [(one.field, one.symbols) for one in found] == [(column, ("Alpha", "alpha"))]


def test_a_column_of_another_name_is_suggested_and_never_taken():
    renamed = frame().rename({"symbol": "Ticker"})
    with pytest.raises(MissingColumnError, match=r"'Ticker' is it, say so: Intake\(symbol_col='Ticker'\)"):
        Panel.from_frame(renamed)
    assert Panel.from_frame(renamed, intake=Intake(symbol_col="Ticker")).symbols == ("A", "B")
    panel = Panel.from_frame(frame(adj_close=[1.0, 2.0, 3.0, 4.0]))
    assert "close" not in panel.fields
    assert [(f.kind, f.symbols) for f in panel.findings] == [("not_read", ("adj_close",))]
    read = Panel.from_frame(frame(adj_close=[1.0, 2.0, 3.0, 4.0]), intake=Intake(columns={"adj_close": "close"}))
    assert read.fields["close"].tolist() == [[2.0, 3.0], [4.0, 1.0]]


ISO = [dt.date(2020, 1, 5), dt.date(2020, 2, 1)]


@pytest.mark.parametrize(
    ("texts", "date_format"),
    [
        (["2020-01-05", "2020-02-01"], None),
        (["20200105", "20200201"], None),
        ([20200105, 20200201], None),
        (["2020-01-05T16:00:00.000Z", "2020-02-01T16:00:00Z"], None),
        (["05/01/2020", "01/02/2020"], "%d/%m/%Y"),
        (["01/05/2020", "02/01/2020"], "%m/%d/%Y"),
        (["5 Jan 2020 16:30", "1 Feb 2020 09:30"], "%d %b %Y %H:%M"),
        ([1578182400000, 1580515200000], None),
        ([1578182400000000000, 1580515200000000000], None),
    ],
)
def test_dates_are_read_as_iso_text_as_numbers_or_as_date_format_says(texts, date_format):
    assert parse_dates(pl.Series("date", texts), date_format).to_list() == ISO


@pytest.mark.parametrize("text", ["2024-02-29", "2024-01-05", "2023-02-29", "2024-W05-1", " 2024-01-05"])
def test_a_column_of_one_day_is_read_as_a_column_of_many(text):
    def read(*texts):
        try:
            return parse_dates(pl.Series("date", texts))[0]
        except FactorError as error:
            return str(error)

    assert read(text, text, text) == read(text, text, "2020-01-31")
    assert parse_dates(pl.Series("date", ["2024-01-05", None])).to_list() == [dt.date(2024, 1, 5), None]


@pytest.mark.parametrize(
    ("text", "date_format"),
    [
        ("2020-01-0512", None),
        ("2020-01-05T24:00:00", None),  # midnight of which day?
        ("2020-01-05 99:99", None),
        ("02/01/2020", None),
        ("2020-1-5", None),
        ("2020-13-01", None),
        ("20201301", None),
        ("2020-01-05 noon", None),
        ("2020-01-05", "%d/%m/%Y"),
        ("31/02/2020", "%d/%m/%Y"),
    ],
)
def test_what_is_no_such_date_is_refused_and_date_format_is_named(text, date_format):
    with pytest.raises(FactorError, match="date_format") as caught:
        parse_dates(pl.Series("date", ["20200105" if date_format is None else "05/01/2020", text]), date_format)
    assert text in str(caught.value)


def test_several_times_a_day_are_refused_with_what_to_do_and_combined_when_asked():
    hours = [f"2024-01-0{day} {hour}:00:00" for day in (2, 3) for hour in (10, 16)]
    times = pl.Series(hours).str.to_datetime()
    rows = pl.DataFrame({"date": times, "symbol": ["A"] * 4, "asset_returns": [0.1, 0.1, 0.2, None],
                         "market_cap": [1.0, 2.0, 3.0, 4.0], "open": [5.0, 6.0, 7.0, 8.0], "high": [9.0, 8.0, 7.0, 6.0],
                         "low": [1.0, 2.0, 3.0, 4.0], "volume": [10.0, 20.0, 30.0, 40.0]})  # fmt: skip
    with pytest.raises(DuplicateRowError, match=r"several times of day.*intraday = 'combine'"):
        Panel.from_frame(rows)
    panel = Panel.from_frame(rows, intake=Intake(intraday="combine"))
    assert panel.dates.tolist() == DAYS
    taken = {name: values[:, 0].tolist() for name, values in panel.fields.items()}
    assert taken.pop("returns") == pytest.approx([0.21, 0.2])
    assert taken == {"market_cap": [2.0, 4.0], "open": [5.0, 7.0], "high": [9.0, 7.0], "low": [1.0, 3.0],
                     "volume": [30.0, 70.0]}  # fmt: skip


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow", "ipc"])
def test_a_file_of_each_format_gives_the_panel_of_its_frame(tmp_path, suffix):
    rows = frame(my_signal=[1.5, None, 2.0, 3.0], sector=["Energy", "Tech", "Oil", "Tech"])
    path = tmp_path / f"market.{suffix}"
    {"parquet": rows.write_parquet, "csv": rows.write_csv, "arrow": rows.write_ipc_stream, "ipc": rows.write_ipc}[
        suffix
    ](path)
    read, given = Panel.from_frame(path), Panel.from_frame(rows)
    assert (read.symbols, read.dates.tolist(), read.categories["sector"].names) == (
        given.symbols, given.dates.tolist(), given.categories["sector"].names,
    )  # fmt: skip
    assert list(read.fields) == list(given.fields)
    for name, values in given.fields.items():
        np.testing.assert_array_equal(read.fields[name], values)


def test_a_csv_keeps_symbols_and_codes_of_digits_as_text_and_names_text_between_numbers(tmp_path):
    head = "date,symbol,asset_returns,market_cap,zip,book\n"
    (tmp_path / "a.csv").write_text(head + "2024-01-02,0700,0.01,1,007,1\n2024-01-02,9988,0.01,1,100,2\n")
    panel = Panel.from_frame(tmp_path / "a.csv")
    assert panel.symbols == ("0700", "9988")
    assert panel.categories["zip"].names == ("007", "100")
    (tmp_path / "b.csv").write_text(head + "2024-01-02,A,0.01,1,1,NA\n2024-01-02,B,0.01,1,2,2\n")
    with pytest.raises(WrongTypeError, match=r"'book' is text.*'NA'"):
        Panel.from_frame(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text(head + "02/01/2020,A,0.01,1,1,1\n")
    with pytest.raises(FactorError, match=r"'02/01/2020'.*date_format"):
        Panel.from_frame(tmp_path / "c.csv")
    assert Panel.from_frame(tmp_path / "c.csv", intake=Intake(date_format="%m/%d/%Y")).dates.tolist() == [ISO[1]]


def test_a_file_that_is_not_there_or_no_table_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "a.xlsx").write_bytes(b"x")
    for name, words in (
        ("none.csv", "there is no file"),
        ("a.parquet", "not a readable parquet"),
        ("a.xlsx", "must be"),
    ):
        with pytest.raises(FactorError, match=words):
            Panel.from_frame(tmp_path / name)
