"""The cost model of benchmarks/scaling.py finds what invented costs are made of, and its page has the documented form.

Only invented numbers here: what the benchmark measures is in docs/scaling.md.
"""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import scaling_model  # noqa: E402
import scaling_page  # noqa: E402
from scaling_model import TERMS, Fitted, Node, Size, fit, forecast, makespan, within  # noqa: E402

SIZES = [
    Size(names, days, factors, chains, widest, max(days - 120.0, 0.0) if factors else 0.0)
    for names, days, factors, chains, widest in (
        (100, 500, 600, 9, 90), (400, 500, 600, 9, 90), (1000, 250, 600, 9, 90), (100, 1000, 300, 6, 80),
        (500, 800, 150, 5, 40), (2000, 500, 150, 5, 40), (2000, 100, 600, 9, 90), (900, 500, 0, 0, 0),
    )
]  # fmt: skip
TRUE = {
    "start_s": (3.0,),
    "plan_s": (0.1, 2e-7),
    "model_s": (2e-3, 3e-6),
    "library_s": (0.2, 5e-6, 4e-8, 5e-8),
    "memory_bytes": (2e8, 3e4, 2e3),
    "read_bytes": (400.0, 150.0),
    "written_bytes": (9e3, 60.0, 6.0),
    "stored_bytes": (9e3, 60.0, 6.0),
    "input_bytes": (200.0,),
}


def costs(size: Size) -> dict[str, float]:
    made = Fitted(TRUE, {}, 1.5)
    return {name: made.predict(name, size) for name in TERMS}


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    told = [costs(size) for size in SIZES]
    return fit(SIZES, {name: [one[name] for one in told] for name in TERMS}, longest=1.5)


@pytest.mark.parametrize("cost", TERMS)
def test_the_constants_that_costs_are_made_of_are_found(fitted, cost):
    np.testing.assert_allclose(fitted.constants[cost], TRUE[cost], rtol=1e-6)
    assert fitted.errors[cost] < 1e-6


def test_costs_that_are_no_such_sum_are_told_by_the_error_and_no_constant_is_below_zero():
    told = [costs(size) | {"model_s": 1.0 / size.days} for size in SIZES]
    found = fit(SIZES, {name: [one[name] for one in told] for name in TERMS}, longest=1.0)
    assert found.errors["model_s"] > 0.2
    assert all(constant >= 0.0 for constants in found.constants.values() for constant in constants)


def test_too_few_runs_are_refused():
    told = costs(SIZES[0])
    with pytest.raises(ValueError, match="terms"):
        fit(SIZES[:1], {name: [told[name]] for name in TERMS}, longest=1.0)


@pytest.mark.parametrize(
    ("chains", "slots", "ends"),
    [([4.0, 3.0, 3.0], 1, 10.0), ([4.0, 3.0, 3.0], 2, 6.0), ([4.0, 3.0, 3.0], 3, 4.0), ([4.0, 3.0, 3.0], 99, 4.0)],
)
def test_chains_end_when_the_busiest_slot_does(chains, slots, ends):
    assert makespan(chains, slots) == ends


def test_chains_together_take_what_the_model_and_the_library_take(fitted):
    size = SIZES[0]
    chains = fitted.chains(size)
    assert len(chains) == size.chains + 1
    assert sum(chains) == pytest.approx(fitted.predict("model_s", size) + fitted.predict("library_s", size))
    assert max(chains[1:]) == pytest.approx(1.5 * np.mean(chains[1:]))


WIDE = Size(60_000, 6300, 600, 9, 90, 6180.0)
ROOMY = Node(2, 1e12, 1e12, 1e12)


def test_more_nodes_take_no_longer_until_the_longest_chain_is_left(fitted):
    one, ten, hundred = (forecast(fitted, WIDE, ROOMY, nodes) for nodes in (1, 10, 100))
    assert one.at_least_s > ten.at_least_s == hundred.at_least_s
    assert one.bottleneck == "the processors"
    assert hundred.bottleneck == "the longest chain"
    assert hundred.compute_s == pytest.approx(max(fitted.chains(WIDE)))
    assert one.network_bytes == 0.0
    assert hundred.network_bytes == pytest.approx(5 * 200.0 * 60_000 * 6300 + hundred.stored_bytes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"memory_bytes": 1e9}, "no chain fits"),
        ({"memory_bytes": 3e9, "cores": 99}, "1 of 99 cores"),
        ({"disk_bytes_per_s": 1e6}, "the disk"),
        ({"network_bytes_per_s": 1e5}, "the network"),
    ],
)
def test_what_is_scarce_is_named(fitted, change, says):
    size = Size(10_000, 6300, 600, 9, 90, 6180.0)  # a chain takes 2.3 GB
    assert (
        says in forecast(fitted, size, ROOMY._replace(**change), 1 + 2 * ("network_bytes_per_s" in change)).bottleneck
    )


def test_a_prediction_is_met_within_a_quarter():
    assert [within(x, 100.0) for x in (75.0, 125.0, 74.0, 126.0, math.nan)] == [True, True, False, False, False]


def test_the_section_goes_between_the_marks_and_nothing_else_changes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{scaling_page.BEGIN}\nold\n{scaling_page.END}\nafter\n")
    scaling_page.put("new", page)
    assert page.read_text() == f"before\n{scaling_page.BEGIN}\nnew\n{scaling_page.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks"):
        scaling_page.put("new", page)


def test_the_page_has_every_part_and_judges_what_it_shows():
    section = scaling_page.section_of()
    for heading in scaling_page.HEADINGS:
        assert heading in section
    assert re.search(r"`python benchmarks/scaling\.py( --quick)?`", section)
    assert re.search(r"20\d\d-\d\d-\d\d", section)
    for cost, terms in TERMS.items():
        for term in terms:
            assert f"| {term.grows_with} |" in section, cost
    checked = section.partition("### The largest run")[2].partition("### Predicted")[0]
    rows = re.findall(r"\| ([\d,.]+) \| ([\d,.]+) \| [+-]\d+ % \| (met|missed|not judged) \|", checked)
    assert len(rows) >= 5
    for predicted, measured, verdict in rows:
        near = scaling_model.within(*(float(x.replace(",", "")) for x in (predicted, measured)))
        assert verdict in ("not judged", "met" if near else "missed")
    nodes = re.findall(r"^\| (\d+) \|", section.partition("### Predicted")[2], re.MULTILINE)
    assert nodes == ["1", "10", "100"]
