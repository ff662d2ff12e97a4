"""Names of several sectors: shares that sum to 1, kept as labels of a category and used as exposures.

The category `sector` holds the largest sector of a name, for groups; the category `SHARES` holds, where a name is of
several, which ones and in what parts. Kernels take one code for both: a sector's own, or the number of sectors and then
the place in a table of shares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError

SHARES = "sector_shares"
MOST_CODES = 32_767
"""Sectors and different memberships together: codes are of 16 bits."""
NO_SHARES = np.empty((0, 0))


def label_of(shares: Mapping[str, float]) -> str:
    """Write memberships as the label that stands for them: the same ones have the same label."""
    return json.dumps({name: shares[name] for name in sorted(shares) if shares[name] > 0.0})


def sectors_of(label: str) -> dict[str, float]:
    """Read what `label_of` wrote.

    Raises
    ------
    FactorError
        It is no such label.
    """
    try:
        shares = json.loads(label)
        return {str(name): float(share) for name, share in shares.items()}
    except (ValueError, TypeError, AttributeError):
        raise FactorError(
            f"{label!r} is no membership in sectors; columns of shares make them (sector_encodings)", field=SHARES
        ) from None


@lru_cache(maxsize=64)
def shares_table(labels: tuple[str, ...], sectors: tuple[str, ...]) -> NDArray[np.float64]:
    """Give the shares of each label in each sector, float64 [n_labels, n_sectors].

    Raises
    ------
    FactorError
        A label names a sector that is not there, or there are too many labels.
    """
    if len(labels) + len(sectors) > MOST_CODES:
        raise FactorError(f"{len(labels)} different memberships; at most {MOST_CODES - len(sectors)}", field=SHARES)
    place = {name: i for i, name in enumerate(sectors)}
    table = np.zeros((len(labels), len(sectors)))
    for row, label in zip(table, labels, strict=True):
        for name, share in sectors_of(label).items():
            if name not in place:
                raise FactorError(f"a membership names the sector {name!r}, which is none of the model", field=SHARES)
            row[place[name]] = share
    return table


def joined_codes(sectors: NDArray[np.int16], shares: NDArray[np.int16] | None, n_sectors: int) -> NDArray[np.int16]:
    """Give the codes that kernels take: a sector's, or above them the membership's, -1 for none."""
    if shares is None or not (shares >= 0).any():
        return sectors
    joined: NDArray[np.int16] = np.where(shares >= 0, n_sectors + shares, sectors).astype(np.int16)
    return joined


def known_labels(labels: Sequence[str], sectors: Sequence[str]) -> tuple[str, ...]:
    """Give the labels whose sectors are all known."""
    return tuple(label for label in labels if set(sectors_of(label)) <= set(sectors))


def sector_rows(
    codes: NDArray[np.int16], n_sectors: int, shares: NDArray[np.float64] = NO_SHARES
) -> NDArray[np.float64]:
    """Give exposures to sectors, float64 [n_names, n_sectors]: one-hot, or the shares of names in several."""
    # The last row is that of no sector, which the code -1 takes.
    table = np.vstack([np.eye(n_sectors), shares.reshape(-1, n_sectors), np.zeros((1, n_sectors))])
    rows: NDArray[np.float64] = table[codes]
    return rows
