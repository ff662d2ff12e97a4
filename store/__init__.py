"""The versioned store of models: the truth; everything else is a cache."""

from store.checkpoints import Checkpoint
from store.lru import LRU
from store.manifest import Manifest
from store.model_store import Ground, ModelStore
from store.portfolio_store import Holdings, Portfolio, PortfolioStore
from store.version import StoredState, Version

__all__ = [
    "LRU",
    "Checkpoint",
    "Ground",
    "Holdings",
    "Manifest",
    "ModelStore",
    "Portfolio",
    "PortfolioStore",
    "StoredState",
    "Version",
]
