"""A malformed catalogue is refused with the file, the entry and, inside a formula, line and column."""

import itertools
import pickle
import re

import pytest
from whole_catalogue import whole_catalogue

from factors.library import Catalogue, CatalogueError

ENTRY = {
    "id": '"mine"',
    "name": '"Mine"',
    "category": '"momentum"',
    "formula": '"close / delay(close, 5) - 1"',
    "source": '"Me"',
    "citation": '"Nobody 2020"',
}


def factor(**changes):
    cells = {**ENTRY, **changes}
    return "[[factor]]\n" + "\n".join(f"{key} = {value}" for key, value in cells.items() if value is not None) + "\n"


def refused(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.load(folder)
    return caught.value


def test_a_sound_file_is_read(tmp_path):
    (tmp_path / "a.toml").write_text(factor(conventions="{ base = 'paper', ddof = 0 }", delay="0"), encoding="utf-8")
    entry = Catalogue.load(tmp_path).entries["mine"]
    assert (entry.delay, entry.conventions.ddof, entry.version) == (0, 0, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"citation": None}, "citation is missing"),
        ({"citation": '""'}, "citation is empty"),
        ({"colour": '"blue"'}, "unknown key 'colour'"),
        ({"delay": '"one"'}, "delay is a str; expected int"),
        ({"delay": "true"}, "delay is a bool; expected int"),
        ({"delay": "2"}, "delay is 2; expected 0 or 1"),
        ({"category": '"magic"'}, "category 'magic'; expected one of alpha101"),
        ({"conventions": '"nobody"'}, "unknown conventions 'nobody'; expected one of paper"),
        ({"conventions": "{ ddof = 2 }"}, "conventions.ddof must be less than or equal to 1, got 2"),
        (
            {"conventions": "{ rank_scale = 'per mille' }"},
            "conventions.rank_scale must be 'pct', 'unit' or 'zero'",
        ),
        ({"tags": '"strict"'}, "tags is a str; expected list"),
    ],
)
def test_a_wrong_entry_names_file_entry_and_what_was_expected(tmp_path, changes, said):
    error = refused(tmp_path, good=factor(id='"good"'), wrong=factor(**changes))
    assert (error.file, error.entry, error.position) == ("wrong.toml", "mine", None)
    assert str(error).startswith(f"wrong.toml, entry mine: {said}")


@pytest.mark.parametrize(
    ("formula", "position", "said"),
    [
        ("rank(clse)", (1, 6), "expected close"),
        ("d = delta(close, 5);\n  rank(d,, 2)", (2, 10), "expected"),
        ("sum(close, 5000)", (1, 12), "1 to 1300"),
        ("sum(close, open)", (1, 12), "a constant integer"),
    ],
)
def test_a_wrong_formula_names_line_and_column_too(tmp_path, formula, position, said):
    error = refused(tmp_path, f=factor(formula=f"'''{formula}'''"))
    assert (error.file, error.entry, error.position) == ("f.toml", "mine", position)
    assert f"f.toml, entry mine, line {position[0]}, column {position[1]}: " in str(error)
    assert said in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.position) == (str(error), error.position)


ALIAS = '[[alias]]\nid = "other"\nalias_of = "{of}"\nrelation = "{relation}"\nreason = "why"\n'


@pytest.mark.parametrize(
    ("files", "file", "entry", "said"),
    [
        ({"a": factor(id='"Not An Id"')}, "a.toml", "Not An Id", "not of the form"),
        ({"a": factor(), "b": factor()}, "b.toml", "mine", "already used in a.toml"),
        ({"a": factor(id=None)}, "a.toml", "factor 1", "id is missing"),
        ({"a": "[[factr]]\nid = 'x'\n"}, "a.toml", "", "unknown table 'factr'"),
        ({"a": "[[factor]\n"}, "a.toml", "", "line 1"),
        ({"a": ALIAS.format(of="nothing", relation="equal")}, "a.toml", "other", "alias of unknown 'nothing'"),
        ({"a": factor() + ALIAS.format(of="mine", relation="alike")}, "a.toml", "other", "relation 'alike'"),
        ({"a": "[[define]]\nname = 'shared'\n"}, "a.toml", "shared", "expected name, formula"),
        ({"a": "[[define]]\nname = 'shared'\nformula = 'rank('\n"}, "a.toml", "shared", "line 1, column"),
    ],
)
def test_a_wrong_file_names_where(tmp_path, files, file, entry, said):
    error = refused(tmp_path, **files)
    assert (error.file, error.entry) == (file, entry)
    assert said in str(error)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CatalogueError, match="nowhere"):
        Catalogue.load(tmp_path / "nowhere")


def test_windows_that_differ_by_less_than_a_quarter_have_a_citation_of_their_own():
    """Entries whose formulas are the same but for numbers, none of which differs by a quarter."""
    number = re.compile(r"\d+(?:\.\d+)?")
    same: dict[str, list[tuple[str, list[float]]]] = {}
    entries = whole_catalogue().entries
    for name, entry in entries.items():
        text = re.sub(r"\s+", "", entry.formula)
        same.setdefault(number.sub("#", text), []).append((name, [float(n) for n in number.findall(text)]))
    near = [
        (a, b)
        for group in same.values()
        for (a, x), (b, y) in itertools.combinations(group, 2)
        if all(p == q or max(p, q) < 1.25 * min(p, q) for p, q in zip(x, y, strict=True))
    ]
    assert near == [("alpha158_ma5", "gtja191_065")]
    assert all(entries[a].citation != entries[b].citation for a, b in near)
