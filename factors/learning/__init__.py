"""What training and judging a predictor needs: folds without leakage."""

from factors.learning.folds import DROPPED_MARKS, MARKS, Folds, purged_folds

__all__ = ["DROPPED_MARKS", "MARKS", "Folds", "purged_folds"]
