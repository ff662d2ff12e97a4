"""The versioned store of models: the truth; everything else is a cache."""

from store.lru import LRU
from store.manifest import Manifest
from store.model_store import ModelStore
from store.portfolio_store import Holdings, Portfolio, PortfolioStore
from store.version import StoredState, Version

__all__ = ["LRU", "Holdings", "Manifest", "ModelStore", "Portfolio", "PortfolioStore", "StoredState", "Version"]
