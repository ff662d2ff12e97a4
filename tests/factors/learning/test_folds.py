"""Purged and embargoed folds against plain loops over labels, and against skfolio's CombinatorialPurgedCV."""

import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.errors import FactorError
from factors.learning import MARKS, purged_folds

ROOT = Path(__file__).parents[3]
ORACLES = ROOT / ".venv-oracles" / "bin" / "python"
CASES = [
    (100, 5, 2, 1, 0),
    (103, 5, 2, 6, 0),
    (120, 4, 2, 6, 5),
    (97, 6, 3, 3, 7),
    (64, 8, 2, 1, 3),
    (160, 5, 4, 11, 10),
]
"""skfolio tests on two folds at least; one is in the plain loops."""

SKFOLIO = """
import json, sys
import numpy as np
from skfolio.model_selection import CombinatorialPurgedCV
out = []
for n, folds, tests, span, embargo in json.load(sys.stdin):
    cv = CombinatorialPurgedCV(folds, tests, purged_size=span - 1, embargo_size=embargo)
    splits = cv.split(np.zeros((n, 1)))
    out.append([[sorted(map(int, train)), sorted(int(i) for part in test for i in part)] for train, test in splits])
json.dump(out, sys.stdout)
"""


def plainly(n, n_folds, n_test, span, embargo):
    """Every pair of dates is looked at; a label is the set of days whose returns it has."""
    size = n // n_folds
    fold = [min(t // size, n_folds - 1) for t in range(n)]
    label = [set(range(t + 1, t + span + 1)) for t in range(n)]
    out = []
    for chosen in itertools.combinations(range(n_folds), n_test):
        row = []
        for t in range(n):
            if fold[t] in chosen:
                row.append("test")
                continue
            tested = [s for s in range(n) if fold[s] in chosen]
            before = [s for s in tested if s < t]
            if any(label[t] & label[s] for s in tested):
                row.append("purged")
            elif before and t <= before[-1] + span - 1 + embargo:
                row.append("embargoed")
            else:
                row.append("train")
        out.append(row)
    return out


@st.composite
def divisions(draw):
    n_folds = draw(st.integers(2, 6))
    n_test = draw(st.integers(1, n_folds - 1))
    span, embargo = draw(st.integers(1, 6)), draw(st.integers(0, 5))
    least = n_folds * (span + embargo)
    return draw(st.integers(least, least + 25)), n_folds, n_test, span, embargo


@settings(max_examples=60, deadline=None)
@given(divisions())
def test_marks_are_those_of_comparing_every_label_with_every_other(case):
    expected = plainly(*case)
    if any("train" not in row for row in expected):
        with pytest.raises(FactorError, match="no date left to train on"):
            purged_folds(*case)
        return
    assert [[MARKS[mark] for mark in row] for row in purged_folds(*case).marks.tolist()] == expected


@pytest.mark.skipif(not ORACLES.exists(), reason="the oracles are not built: make oracles")
def test_skfolio_trains_and_tests_on_the_same_dates():
    told = subprocess.run(
        [ORACLES, "-W", "ignore", "-c", SKFOLIO], input=json.dumps(CASES), capture_output=True, text=True, check=True
    )
    for case, theirs in zip(CASES, json.loads(told.stdout), strict=True):
        made = purged_folds(*case)
        ours = [
            [np.flatnonzero(row == MARKS.index("train")).tolist(), np.flatnonzero(row == MARKS.index("test")).tolist()]
            for row in made.marks
        ]
        assert ours == theirs, case


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ((100, 1, 1, 1, 0), "n_folds"),
        ((100, 5, 5, 1, 0), "n_test_folds"),
        ((1000, 20, 10, 1, 0), "n_test_folds"),
        ((20, 5, 1, 3, 2), "n_folds"),
        ((3, 5, 1, 1, 0), "n_folds"),
        # Between two stretches of tests a fold loses dates on both sides, here all ten.
        ((30, 3, 2, 6, 0), "n_folds"),
    ],
)
def test_a_division_that_cannot_be_names_what_is_wrong(case, field):
    with pytest.raises(FactorError) as caught:
        purged_folds(*case)
    assert caught.value.field == field
