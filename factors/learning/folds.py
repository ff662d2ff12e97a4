"""Combinatorial purged cross-validation: which dates train, which test, and which are dropped between the two.

Source: M. López de Prado, Advances in Financial Machine Learning (2018), chapters 7 and 12.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError

MARKS = ("train", "test", "purged", "embargoed")
TRAIN, TEST, PURGED, EMBARGOED = range(4)
DROPPED_MARKS = MARKS[PURGED:]
SPLITS_MOST = 100


@dataclass(frozen=True)
class Folds:
    """How dates are divided.

    Attributes
    ----------
    fold : int64 [n_dates]
        The fold of each date; folds are stretches of dates that follow each other.
    test_folds : tuple of tuple of int
        The folds that each split tests on.
    marks : int8 [n_splits, n_dates]
        Positions in `MARKS`.
    """

    fold: NDArray[np.int64]
    test_folds: tuple[tuple[int, ...], ...]
    marks: NDArray[np.int8]


def purged_folds(n_dates: int, n_folds: int, n_test_folds: int = 1, span: int = 1, embargo: int = 0) -> Folds:
    """Divide dates into folds, and mark for every choice of test folds what may train.

    A label of date `t` looks at the returns of ``t + 1 .. t + span``. A date is *purged* from training when its label
    shares a return with the label of a test date: those are the ``span - 1`` dates on either side of a stretch of test
    dates. Of the dates behind such a stretch `embargo` further ones are *embargoed*, since their features still carry
    what the test labels were made of.

    Parameters
    ----------
    n_dates : int
    n_folds : int
        Stretches of ``n_dates // n_folds`` dates; the last one has what is left over too.
    n_test_folds : int
        Folds that a split tests on; there is a split for each choice.
    span : int
        Days that a label looks ahead.
    embargo : int
        Dates.

    Raises
    ------
    FactorError
        A number out of its range; too many splits; or folds so short that what is dropped leaves none to train on.
    """
    _check(n_dates, n_folds, n_test_folds, span, embargo)
    fold = np.minimum(np.arange(n_dates) // (n_dates // n_folds), n_folds - 1)
    chosen = tuple(itertools.combinations(range(n_folds), n_test_folds))
    marks = np.full((len(chosen), n_dates), TRAIN, np.int8)
    for row, folds in zip(marks, chosen, strict=True):
        tested = np.isin(fold, folds)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], tested.astype(np.int8), [0]))))
        stretches = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        for _, stop in stretches:
            row[stop : stop + span - 1 + embargo] = EMBARGOED
        for start, stop in stretches:
            row[max(start - span + 1, 0) : start] = PURGED
            row[stop : stop + span - 1] = PURGED
        row[tested] = TEST
    bare = np.flatnonzero(~(marks == TRAIN).any(axis=1))
    if bare.size:
        raise FactorError(
            f"a split that tests on folds {', '.join(map(str, chosen[bare[0]]))} has no date left to train on once "
            f"{span - 1} dates before and {span - 1 + embargo} behind each stretch of them are dropped: take a longer "
            "period, or fewer folds, a shorter horizon or embargo",
            field="n_folds",
        )
    return Folds(fold, chosen, marks)


def _check(n_dates: int, n_folds: int, n_test_folds: int, span: int, embargo: int) -> None:
    if n_folds < 2:
        raise FactorError(f"n_folds must be at least 2, was {n_folds}", field="n_folds")
    if not 1 <= n_test_folds < n_folds:
        raise FactorError(
            f"n_test_folds must be at least 1 and below n_folds ({n_folds}), was {n_test_folds}", field="n_test_folds"
        )
    if math.comb(n_folds, n_test_folds) > SPLITS_MOST:
        raise FactorError(
            f"{n_folds} folds of which {n_test_folds} are tested on make {math.comb(n_folds, n_test_folds):,} splits; "
            f"at most {SPLITS_MOST} are made",
            field="n_test_folds",
        )
    if span < 1 or embargo < 0:
        raise FactorError(f"a label looks at least 1 day ahead ({span}), an embargo is no less than 0 ({embargo})")
    dropped = span - 1 + embargo
    if n_dates // n_folds <= dropped:
        raise FactorError(
            f"{n_dates} dates in {n_folds} folds are {n_dates // n_folds} each, and {dropped} are purged and embargoed "
            "behind each test fold: take fewer folds, a longer period, or a shorter horizon or embargo",
            field="n_folds",
        )
