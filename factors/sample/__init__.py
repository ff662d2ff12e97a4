"""A market made of nothing but a seed, with the truth behind it."""

from factors.sample.market import SECTORS, STYLES, SampleMarket, Truth, sample_market

__all__ = [
    "SECTORS",
    "STYLES",
    "SampleMarket",
    "Truth",
    "sample_market",
]
