"""The part of a risk model that a device may compute: products of the draws behind its eigenfactor adjustment.

The rest stays on the CPU: sums over days are float64, since a float32 would hide which eigenvalues are the null space,
and decompositions have no kernel on a device (MLX has them on the CPU, Core ML has none).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.work import Device
from devices.dispatch import Dispatcher
from factors.risk.eigenfactor import Products

TOLERANCE = 1e-6
"""Of a draw's products, relative to the largest. The covariance that follows errs by a tenth of it or less, since the
errors of 200 draws are averaged and the adjustment is a part of the variance (measured; a test holds it)."""


def draw_products(dispatcher: Dispatcher, ran: list[Device] | None = None) -> Products | None:
    """Give what makes the products of draws where that is fastest; None where only the CPU may make them.

    Parameters
    ----------
    dispatcher
        Whose devices are asked.
    ran
        What each batch ran on is appended.
    """
    if len(dispatcher.candidates("covariances", TOLERANCE)) == 1:
        return None

    def products(factors: NDArray[np.float64]) -> NDArray[np.float64]:
        n_draws, n_factors, _ = factors.shape

        def as_histories() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            # The columns of a draw are its days, all of one weight.
            return np.ascontiguousarray(factors.transpose(0, 2, 1)), np.ones((n_draws, n_factors))

        made, device = dispatcher.run(
            "covariances",
            (n_draws, n_factors, n_factors),
            TOLERANCE,
            as_histories,
            lambda: factors @ factors.transpose(0, 2, 1),
            taken=lambda moments: moments * n_factors,
        )
        if ran is not None:
            ran.append(device)
        product: NDArray[np.float64] = made
        return product

    return products
