"""Conventions are settings: element types and bounds are checked, and an error names the path."""

import math

import pytest

from factors.errors import SettingsError
from factors.library.language.conventions import CHOICES, PRESETS, Conventions, conventions


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"rank_ties": "none"}, "conventions.rank_ties", "must be 'average', 'min', 'max' or 'ordinal', got 'none'"),
        ({"rank_ties": ["min"]}, "conventions.rank_ties", "got ['min']"),
        ({"ddof": 2}, "conventions.ddof", "must be less than or equal to 1, got 2"),
        ({"ddof": True}, "conventions.ddof", "must be a valid integer, got True"),
        ({"ddof": 2**70}, "conventions.ddof", "got 1180591620717411303424"),
        ({"corr_tolerance": 1.0}, "conventions.corr_tolerance", "must be less than 1, got 1.0"),
        ({"corr_tolerance": math.nan}, "conventions.corr_tolerance", "got nan"),
        ({"corr_tolerance": "0.1"}, "conventions.corr_tolerance", "must be a valid number, got '0.1'"),
        ({"rank_ties": "none", "ddof": 2}, "conventions.rank_ties", "(and 1 more)"),
        ({"rank": "unit"}, "conventions.rank", "is not a setting; expected one of absent, adv, amount, "),
        ({"rank_ties": "x" * 2000}, "conventions.rank_ties", "got 'xxx"),
        ({"base": 5}, "conventions.base", "must be one of paper, "),
        ({"base": "nobody"}, "conventions.base", "got 'nobody'"),
        ({"base": {"base": "qlib"}}, "conventions.base", "got a dict"),
        (5, "conventions", "must be a preset's name or a table"),
        ("nobody", "conventions", "unknown conventions 'nobody'; expected one of paper, "),
    ],
)
def test_what_is_wrong_is_named_with_its_path_and_what_it_must_be(given, field, words):
    with pytest.raises(SettingsError) as refused:
        conventions(given)
    assert refused.value.field == field
    assert str(refused.value).startswith((field, "unknown"))
    assert words in str(refused.value)


def test_the_constructor_checks_the_same():
    with pytest.raises(SettingsError, match="window_fraction must be 'floor', 'round' or 'ceil', got 3"):
        Conventions(window_fraction=3)
    with pytest.raises(SettingsError, match="version must be greater than or equal to 1"):
        Conventions(version=0)


def test_a_table_changes_its_base_and_says_so_in_its_name():
    found = conventions({"base": "qlib", "ddof": 0})
    assert found.name == "qlib+ddof=0"
    assert found.differences() == {**PRESETS["qlib"].differences(), "ddof": 0}
    assert conventions({"base": "qlib"}) is PRESETS["qlib"]


def test_each_choice_has_its_default_first():
    assert len(CHOICES) == 19
    assert all(getattr(Conventions(), name) == allowed[0] for name, allowed in CHOICES.items())
