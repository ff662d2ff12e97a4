"""A cross-section of a given size."""

from __future__ import annotations

import numpy as np

from factors.library.kernels.found import across
from factors.library.kernels.layout import FC
from factors.library.kernels.types import F8, I8, LARGEST

NAN = np.nan


@across
def scale(x: F8, c: I8, y: F8, z: F8, F: F8) -> None:
    """Divide by the sum of absolute values and multiply by F[FC]."""
    total = 0.0
    for j in range(len(x)):
        total += abs(x[j]) if x[j] == x[j] else 0.0
    factor = F[c[FC]] / total if total > 0.0 else NAN
    for j in range(len(x)):
        v = x[j] * factor
        z[j] = v if abs(v) <= LARGEST else NAN
