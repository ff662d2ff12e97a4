"""Every view, light and dark, by axe-core's rules for WCAG 2.2 AA: contrast, names for screen readers, structure."""

import hashlib
from pathlib import Path

import pytest

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.js"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""Of ``axe.min.js`` in the npm package axe-core 4.14.1 (MPL-2.0)."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
VIEWS = {
    "overview": ("overview", "Actors"),
    "book": ("book?book=equal&benchmark=market", "Exposures"),
    "nothing chosen": ("book", None),
    "market": ("market", "Factor volatilities"),
    "library": ("library?factor=alpha101_101", "How it did"),
    "live": ("live", "Running day"),
    "operations": ("operations", "Latencies"),
}


def violations(page):
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert len(found["passes"]) > 10
    return [(row["id"], row["nodes"][0]["html"][:200]) for row in found["violations"]]


def test_the_rules_are_those_of_the_package():
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == SHA256


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_breaks_no_rule(tab, view, scheme):
    address, panel = VIEWS[view]
    tab.page.emulate_media(color_scheme=scheme)
    page = tab.open(address)
    (tab.panel(panel) if panel else page.locator("main .empty").first).wait_for()
    page.locator(".loading").first.wait_for(state="detached")
    assert violations(page) == []


def test_a_grey_on_grey_would_be_found(tab):
    page = tab.open("overview")
    tab.panel("Actors").wait_for()
    page.evaluate("document.documentElement.style.setProperty('--dim', '#c0c4c8')")
    assert "color-contrast" in {rule for rule, _ in violations(page)}
