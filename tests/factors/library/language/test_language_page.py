"""docs/formula-language.md is true and complete: its tables name what there is, and its examples run."""

import re
from pathlib import Path

import numpy as np
import pytest

from factors.library import PRESETS, Conventions, compile_library
from factors.library.definitions.catalogue import CATEGORIES, RELATIONS
from factors.library.language import limits
from factors.library.language.conventions import CHOICES
from factors.library.language.names import DERIVED, FIELDS, GROUPS
from factors.library.language.operators import BY_NAME

PAGE = (Path(__file__).parents[4] / "docs" / "formula-language.md").read_text(encoding="utf-8")
CODE = " ".join(re.findall(r"`([^`]+)`", PAGE.replace("```", "")))
# What arithmetic, comparison and the conditional are read as; a formula writes their signs.
WRITTEN_AS_SIGNS = {
    "neg", "add", "sub", "mul", "div", "mod", "lt", "le", "gt", "ge", "eq", "ne", "logical_and", "logical_or",
    "logical_not",
}  # fmt: skip


def examples():
    block = re.search(r"```formula\n(.*?)```", PAGE, re.DOTALL)
    return [text.strip() for text in block.group(1).split("\n\n")]


def words(text):
    return set(re.findall(r"[a-z][a-z0-9_]*", text))


def test_every_operator_is_on_the_page_by_each_of_its_names():
    named = words(CODE) | words(" ".join(re.findall(r"\[([a-z0-9_, ]+)\]", PAGE)))
    missing = {name for name in BY_NAME if name not in named} - WRITTEN_AS_SIGNS
    assert not missing


def test_every_call_on_the_page_is_an_operator():
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    first_cells = " ".join(line.split("|")[1] for line in tables.splitlines())
    called = set(re.findall(r"([a-z][a-z0-9_]*)\(", first_cells))
    assert called <= set(BY_NAME), called - set(BY_NAME)


def test_every_field_group_and_derived_name_is_on_the_page():
    assert words(CODE) >= FIELDS | GROUPS | DERIVED


def test_every_convention_stands_with_its_values_the_default_first():
    conventions = PAGE[PAGE.index("## Conventions") :]
    for key, allowed in CHOICES.items():
        (row,) = (line for line in conventions.splitlines() if line.startswith(f"| `{key}` |"))
        cell = re.sub(r"\([^()]*(\([^()]*\)[^()]*)*\)", "", row.split("|")[2])
        assert [word.strip() for word in cell.split(",")] == list(allowed)
        assert getattr(Conventions(), key) == allowed[0]


def test_every_preset_category_and_relation_is_on_the_page():
    assert set(PRESETS) <= words(CODE)
    assert {*CATEGORIES, *(word for relation in RELATIONS for word in relation.split("-"))} <= words(PAGE)


def test_the_bounds_on_the_page_are_those_of_the_code():
    text = PAGE[PAGE.index("Bounds (") : PAGE.index("## Types")].replace("\n", " ")
    for bound in (
        f"text {limits.MAX_TEXT_CHARS:,} characters",
        f"{limits.MAX_NODES} nodes",
        f"depth {limits.MAX_DEPTH}",
        f"window {limits.MAX_WINDOW_ROWS:,} rows",
        f"(warm-up) {limits.MAX_LOOKBACK_ROWS:,} rows",
        f"{limits.MAX_REGRESSORS} regressors",
        f"{limits.MAX_ARGUMENTS} keyword and positional",
    ):
        assert bound in text


@pytest.fixture(scope="module")
def values(panel_of):
    panel = panel_of(420, 12)
    library = compile_library({str(k): text for k, text in enumerate(examples())})
    return library.run(panel.fields, groups=panel.groups, dates=panel.dates)


@pytest.mark.parametrize("k", range(len(examples())))
def test_an_example_of_the_page_runs_and_gives_values(k, values):
    assert np.isfinite(values[str(k)][-1]).sum() >= 8, examples()[k]


def test_a_preset_does_not_change_without_a_new_version():
    """A recorded factor names its conventions by version: other settings under the same one would be a lie."""
    known = {(name, preset.version): preset.digest for name, preset in PRESETS.items()}
    assert known == DIGESTS


DIGESTS = {
    ("paper", 2): "013d4384ed30",
    ("alpha101v", 2): "1b2cf3287ef0",
    ("brain", 3): "3e229acb6e01",
    ("kunquant", 2): "c531db1fa491",
    ("qlib", 3): "48f8c5ddfe25",
}
