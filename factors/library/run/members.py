"""An array of a saved state in pieces: a year of the whole library is a gigabyte, which is not copied to be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Member(NamedTuple):
    """An array, and its numbers in order (C order), a piece at a time."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pieces: Iterator[NDArray[Any]]


def whole(member: Member) -> NDArray[Any]:
    """Put the pieces together."""
    out = np.empty(member.shape, member.dtype)
    flat, at = out.reshape(-1), 0
    for piece in member.pieces:
        flat[at : at + piece.size] = piece.reshape(-1)
        at += piece.size
    if at != flat.size:
        raise ValueError(f"the pieces have {at} numbers; expected {flat.size}")
    return out
