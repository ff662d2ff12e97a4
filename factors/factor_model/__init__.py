"""The whole workflow: from a panel to scores, factor returns, covariance, specific risk."""

from factors.factor_model.model import FactorModel, Latest

__all__ = [
    "FactorModel",
    "Latest",
]
