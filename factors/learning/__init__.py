"""What training and judging a predictor needs: folds without leakage, training that walks forward, a comparison."""

from factors.learning.folds import DROPPED_MARKS, MARKS, Folds, purged_folds
from factors.learning.judged import Judged, judge
from factors.learning.walk_forward import Training, WalkForward, WalkForwardSettings, walk_forward

__all__ = [
    "DROPPED_MARKS",
    "MARKS",
    "Folds",
    "Judged",
    "Training",
    "WalkForward",
    "WalkForwardSettings",
    "judge",
    "purged_folds",
    "walk_forward",
]
