"""docs/factors.md is what the catalogue, the agreement records and the counts say."""

import re
from pathlib import Path

from whole_catalogue import whole_catalogue

from factors.library.definitions.agreement import oracles
from factors.library.definitions.counts import BUSY, REAL, SAMPLE
from factors.library.definitions.document import page, stored_counts

ROOT = Path(__file__).parents[4]


def test_the_page_in_docs_is_the_one_that_is_generated():
    written = (ROOT / "docs" / "factors.md").read_text(encoding="utf-8")
    assert written == page(), "docs/factors.md is old: run `python -m factors.library.definitions.document`"


def test_every_factor_and_alias_stands_on_the_page():
    text, catalogue = page(), whole_catalogue()
    assert all(f"### {name}\n" in text for name in catalogue.entries)
    assert all(f"| `{name}` |" in text for name in catalogue.aliases)


def test_every_link_of_the_contents_leads_to_a_heading():
    text = page()
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("##")}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) > len(whole_catalogue().entries)
    assert set(links) <= headings


def test_the_page_states_the_counts_at_every_threshold_on_every_panel():
    counts, text = stored_counts(), page()
    assert list(counts) == [SAMPLE, BUSY, REAL]
    for name, panel in counts.items():
        distinct = " | ".join(str(panel["distinct"][str(threshold)]) for threshold in (0.999, 0.99, 0.95))
        assert f"| {name} | {panel['counted']} | {distinct} |" in text
        # no two counted factors are one, and most stay apart far below that
        assert panel["distinct"]["0.999"] == panel["counted"]
        assert panel["clusters"].keys() == panel["distinct"].keys()
        for threshold, clusters in panel["clusters"].items():
            joined = sum(len(members) for members in clusters.values())
            assert panel["counted"] - joined == panel["distinct"][threshold]
    for name in (SAMPLE, BUSY):
        assert counts[name]["distinct"]["0.999"] >= 590
        assert counts[name]["distinct"]["0.99"] >= 570


def test_every_agreement_is_about_a_factor_or_an_alias():
    catalogue = whole_catalogue()
    recorded = {row.factor for oracle in oracles().values() for row in oracle.agreements}
    assert recorded <= catalogue.entries.keys() | catalogue.aliases.keys()


def test_the_counts_are_about_the_catalogue_as_it_is():
    catalogue, counts = whole_catalogue(), stored_counts()
    for panel in counts.values():
        assert panel["counted"] + len(panel["missing"]) == len(catalogue.entries)
        assert panel["missing"].keys() <= catalogue.entries.keys()
