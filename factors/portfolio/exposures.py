"""The exposures of a few names, on one date or many, from what a model keeps of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from factors.panel.memberships import NO_SHARES, sector_rows


def exposure_matrix(
    scores: NDArray[np.float64],
    known: NDArray[np.bool_],
    codes: NDArray[np.int16],
    n_sectors: int,
    shares: NDArray[np.float64] = NO_SHARES,
) -> NDArray[np.float64]:
    """Give the rows of the exposure matrix of some names, without compiled code: readers of a few names need none.

    Parameters
    ----------
    scores : float64 [..., n_styles, n_names]
        Style scores; a missing one (NaN) counts as 0, the market's average. Axes before are dates.
    known : bool [..., n_names]
        Names with a cap on the date; the others' rows are NaN, as the model does not cover them.
    codes : int16 [..., n_names]
        Sector of each name; below 0 for none; from `n_sectors` on a row of `shares`.
    n_sectors : int
    shares : float64 [n_memberships, n_sectors]
        Exposures of names in several sectors.

    Returns
    -------
    float64 [..., n_names, 1 + n_sectors + n_styles]
        1 for the market, one-hot sectors, style scores: the columns of `FactorModel.exposures`.
    """
    out = np.zeros((*known.shape, 1 + n_sectors + scores.shape[-2]))
    out[..., 0] = 1.0
    if len(shares):
        out[..., 1 : 1 + n_sectors] = sector_rows(codes, n_sectors, shares)
    else:
        placed = np.nonzero(codes >= 0)
        at: tuple[NDArray[np.intp], ...] = (*placed, 1 + codes[placed].astype(np.intp))
        out[at] = 1.0
    out[..., 1 + n_sectors :] = np.where(np.isnan(scores), 0.0, scores).swapaxes(-1, -2)
    out[~known] = np.nan
    return out
