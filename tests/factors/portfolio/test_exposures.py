"""Exposures of a few names, held to the compiled kernel that the model fits with."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from factors.numeric.kernels import exposure_rows
from factors.panel.memberships import NO_SHARES
from factors.portfolio.exposures import exposure_matrix


@settings(deadline=None)
@given(n_names=st.integers(0, 40), n_sectors=st.integers(0, 5), n_styles=st.integers(0, 4), seed=st.integers(0, 999))
def test_the_rows_are_those_of_the_kernel(n_names, n_sectors, n_styles, seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n_styles, n_names))
    scores[rng.random(scores.shape) < 0.2] = np.nan
    caps = rng.choice([np.nan, 0.0, -1.0, np.inf, 1e9, 2e9], n_names)
    codes = rng.integers(-1, n_sectors, n_names).astype(np.int16)
    expected = np.zeros((n_names, 1 + n_sectors + n_styles))
    exposure_rows(scores, caps, codes, NO_SHARES, expected)
    known = np.isfinite(caps) & (caps > 0.0)
    np.testing.assert_array_equal(exposure_matrix(scores, known, codes, n_sectors), expected)
