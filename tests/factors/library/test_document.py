"""docs/factors.md is what the catalogue, the agreement records and the counts say."""

from pathlib import Path

from factors.library import Catalogue
from factors.library.agreement import oracles
from factors.library.document import page, stored_counts

ROOT = Path(__file__).parents[3]


def test_the_page_in_docs_is_the_one_that_is_generated():
    written = (ROOT / "docs" / "factors.md").read_text(encoding="utf-8")
    assert written == page(), "docs/factors.md is old: run `python -m factors.library.document`"


def test_every_factor_and_alias_stands_on_the_page():
    text, catalogue = page(), Catalogue.load()
    assert all(f"### {name}\n" in text for name in catalogue.entries)
    assert all(f"| `{name}` |" in text for name in catalogue.aliases)


def test_every_agreement_is_about_a_factor_or_an_alias():
    catalogue = Catalogue.load()
    recorded = {row.factor for oracle in oracles().values() for row in oracle.agreements}
    assert recorded <= catalogue.entries.keys() | catalogue.aliases.keys()


def test_the_counts_are_about_the_catalogue_as_it_is():
    catalogue, counts = Catalogue.load(), stored_counts()
    for panel in counts.values():
        assert panel["counted"] + len(panel["missing"]) == len(catalogue.entries)
        assert panel["missing"].keys() <= catalogue.entries.keys()
