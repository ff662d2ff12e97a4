"""The count on strict data, and with more fundamentals, on the sample market."""

import pytest

from factors.library.definitions.fields import library_fields

STRICT_LEAST, EXTENDED_LEAST = 506, 543
STRICT = frozenset(
    [
        "open",
        "high",
        "low",
        "close",
        "volume",
        "vwap",
        "amount",
        "returns",
        "market_cap",
        "shares",
        "benchmark_open",
        "benchmark_close",
        "benchmark_return",
        "sector",
        "industry",
        "subindustry",
        "book",
        "sales",
        "sales_q",
        "cash_flow",
        "cash_flow_q",
        "earnings",
        "earnings_q",
        "dividends",
    ]
)
MORE = frozenset(
    ["assets", "debt", "long_term_debt", "cash", "gross_profit", "ebit", "ebitda", "interest", "capex", "rnd"],
)

TAGGED = {"JKP", "Barra", "OpenAP", "TA"}
"""Sources whose entries say by tags which fields beyond the strict ones they need."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def inputs(catalogue):
    from factors.library.compile.compiler import compile_library

    return compile_library(catalogue.entries).inputs


def test_every_factor_needs_known_fields_only(inputs):
    assert set().union(*inputs.values()) <= STRICT | MORE


def test_tags_name_the_fields_beyond_the_strict_ones(catalogue, inputs):
    tagged = {name: entry for name, entry in catalogue.entries.items() if entry.source in TAGGED}
    assert {entry.source for entry in tagged.values()} == TAGGED
    for name, entry in tagged.items():
        needs = {tag.removeprefix("needs:") for tag in entry.tags if tag.startswith("needs:")}
        assert needs == set(inputs[name]) & MORE, name
        assert ("strict" in entry.tags) == (not needs), name


def test_at_least_506_factors_compute_on_strict_data(inputs, sample_census):
    strict = [name for name in sample_census.counted if set(inputs[name]) <= STRICT]
    assert len(strict) >= STRICT_LEAST, sample_census.missing


def test_at_least_543_factors_compute_with_more_fundamentals(sample_census):
    assert len(sample_census.counted) >= EXTENDED_LEAST, sample_census.missing


def test_the_sample_market_carries_every_field(inputs, sample_market_panel):
    held = library_fields(sample_market_panel).available
    assert set().union(*inputs.values()) <= held
