"""The whole workflow: from a panel to scores, factor returns, covariance, specific risk."""

from factors.factor_model.latest import Latest
from factors.factor_model.model import FactorModel

__all__ = [
    "FactorModel",
    "Latest",
]
