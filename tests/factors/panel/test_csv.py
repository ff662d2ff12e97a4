"""CSVs as spreadsheets and pandas write them: read alike from a file and over HTTP, or refused with what is wrong."""

import gzip

import pytest

import contracts.csv_text
import factors.panel.csv_text
from contracts.errors import EngineError
from contracts.frames import CSV, from_bulk
from factors import FactorError, Panel

HEAD = "date,symbol,asset_returns,market_cap"
ROWS = "2024-01-02,A,0.01,100\n2024-01-02,B,0.02,200\n"

READ = {
    "plain": f"{HEAD}\n{ROWS}",
    "a mark of UTF-8 in front": f"\ufeff{HEAD}\n{ROWS}",
    "lines of Windows": f"{HEAD}\n{ROWS}".replace("\n", "\r\n"),
    "blank lines": f"{HEAD}\n\n{ROWS}\n\n",
    "row numbers of pandas": f",{HEAD}\n0,2024-01-02,A,0.01,100\n1,2024-01-02,B,0.02,200\n",
    "quotes": f'{HEAD}\n"2024-01-02","A","0.01","100"\n2024-01-02,B,0.02,200\n',
}
REFUSED = {
    "semicolons": (f"{HEAD}\n{ROWS}".replace(",", ";"), "separated by ';'"),
    "tabs": (f"{HEAD}\n{ROWS}".replace(",", "\t"), r"separated by '\\t'"),
    "a column twice": (f"{HEAD},market_cap\n2024-01-02,A,0.01,100,7\n", "the column 'market_cap' twice"),
    "a column without a name": (f"{HEAD},\n2024-01-02,A,0.01,100,7\n", "column 5 has no name"),
    "a short line": (f"{HEAD}\n2024-01-02,A,0.01\n2024-01-02,B,0.02,200\n", "line 2 has 3 values, and its head has 4"),
    "a long line": (f"{HEAD}\n2024-01-02,A,0.01,1,5\n2024-01-02,B,0.02,200\n", "line 2 has 5 values"),
}


def by_file(content, folder):
    (folder / "t.csv").write_bytes(content)
    return Panel.from_frame(folder / "t.csv")


def by_http(content, _):
    return Panel.from_frame(from_bulk(content, CSV))


def by_packed_file(content, folder):
    (folder / "t.csv.gz").write_bytes(gzip.compress(content))
    return Panel.from_frame(folder / "t.csv.gz")


WAYS = [by_file, by_http, by_packed_file]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", READ)
def test_it_is_read(case, way, tmp_path):
    panel = way(READ[case].encode(), tmp_path)
    assert panel.symbols == ("A", "B")
    assert {name: values.tolist() for name, values in panel.fields.items()} == {
        "returns": [[0.01, 0.02]],
        "market_cap": [[100.0, 200.0]],
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_what_is_wrong(case, way, tmp_path):
    text, words = REFUSED[case]
    with pytest.raises((FactorError, EngineError), match=words):
        way(text.encode(), tmp_path)


def test_a_csv_of_another_encoding_says_so(tmp_path):
    for way in WAYS:
        with pytest.raises((FactorError, EngineError), match="UTF-16"):
            way(f"{HEAD}\n{ROWS}".encode("utf-16"), tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_codes_that_pandas_wrote_as_fractions_are_the_codes(way, tmp_path):
    text = f"{HEAD},sector,issuer\n2024-01-02,A,0.01,100,45.0,7.0\n2024-01-02,B,0.02,200,,\n"
    categories = way(text.encode(), tmp_path).categories
    assert (categories["sector"].names, categories["issuer"].names) == (("45", "Unknown"), ("7",))


def test_both_rooms_look_for_the_same():
    one, other = (
        module.__loader__.get_source(module.__name__) for module in (contracts.csv_text, factors.panel.csv_text)
    )
    assert one.partition('"""\n\nfrom')[2] == other.partition('"""\n\nfrom')[2] != ""
