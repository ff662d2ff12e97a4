"""Every factor that counts is held against an implementation other than ours, and how it agrees is recorded."""

import pytest
from whole_catalogue import whole_catalogue

from factors.library import LibraryError
from factors.library.definitions.agreement import _read, oracles
from factors.library.language.conventions import conventions

CATALOGUE = whole_catalogue()
# What each source is held against; the tests of that oracle hold their subjects against its record.
ORACLES = {
    "Alpha101": {"alpha101v", "alpha101v_paper"},
    "GTJA191": {"gtja191_text"},
    "Alpha158": {"qlib_alpha158", "qlib_alpha158_strict", "kunquant_alpha158"},
    "TA": {"talib"},
    "JKP": {"jkp_closed_forms"},
    "Barra": {"barra_definitions"},
    "OpenAP": {"openap_definitions"},
}


def test_no_factor_that_counts_lacks_a_record():
    held: dict[str, set[str]] = {}
    for oracle in oracles().values():
        for row in oracle.agreements:
            held.setdefault(row.factor, set()).add(oracle.id)
    for name, entry in CATALOGUE.entries.items():
        wanted = ORACLES.get(entry.source, {"papers_formulas"})
        assert wanted <= held.get(name, set()), f"{name} of {entry.source} is not recorded with {wanted}"


def test_a_record_names_conventions_that_there_are():
    for oracle in oracles().values():
        for row in oracle.agreements:
            assert conventions(row.conventions).version >= 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('equal = ["a", "a"]', "a stands twice"),
        ('equal = ["a"]\nnot_real = ["b"]', "not_real has b"),
        ('[[agreement]]\nfactor = "a"\nverdict = "alike"\nreason = "?"', "verdict 'alike'"),
        ('[[agreement]]\nfactor = "a"\nverdict = "different"', "without a reason"),
        ('[[agreement]]\nfactor = "a"\nverdict = "equal"\ncolour = "blue"', "colour"),
    ],
)
def test_a_malformed_record_names_the_file_and_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "other.toml"
    path.write_text(f'[oracle]\nid = "other"\ntitle = "Another"\n{text}\n')
    with pytest.raises(LibraryError, match=f"other.toml.*{said}"):
        _read(path)
