"""Bounds on formulas, so that no formula of a caller can exhaust the machine. docs/formula-language.md repeats them."""

MAX_TEXT_CHARS = 8_000
MAX_NODES = 400
MAX_DEPTH = 64
MAX_WINDOW_ROWS = 1_300
MAX_LOOKBACK_ROWS = 3_000
MAX_REGRESSORS = 8
MAX_ARGUMENTS = 16
# A category code indexes a scratch array of this length.
MAX_GROUPS = 4_096
