"""The table of styles: a new style is a row here, and descriptors.py has what its descriptors are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How a style is made of descriptors.

    Attributes
    ----------
    parts : tuple of (descriptor, weight)
        The weights of the descriptors that an asset has are scaled to sum to 1.
    least : tuple of descriptors
        One of these must be available, or the style is off.
    orthogonal_to : tuple of styles
        Each must come earlier in the table; those that the model lacks are left out.
    """

    parts: tuple[tuple[str, float], ...]
    least: tuple[str, ...]
    orthogonal_to: tuple[str, ...] = ()


STYLES: dict[str, Style] = {
    "beta": Style((("beta", 1.0),), ("beta",)),
    "momentum": Style((("momentum", 1.0),), ("momentum",)),
    "size": Style((("size", 1.0),), ("size",)),
    "value": Style(
        (("book_price", 1.0), ("sales_price", 1.0), ("cf_price", 1.0)), ("book_price", "sales_price", "cf_price")
    ),
    "residual_volatility": Style((("dastd", 0.74), ("cmra", 0.16), ("hsigma", 0.10)), ("dastd",), ("beta", "size")),
    "nonlinear_size": Style((), ("size",), ("size",)),
    "liquidity": Style((("stom", 0.35), ("stoq", 0.35), ("stoa", 0.30)), ("stom",), ("size",)),
    "earnings_yield": Style((("epfwd", 0.68), ("cetop", 0.21), ("etop", 0.11)), ("etop", "epfwd")),
    "growth": Style(
        (("egrlf", 0.18), ("egrsf", 0.11), ("egro", 0.24), ("sgro", 0.47)), ("egrlf", "egrsf", "egro", "sgro")
    ),
    "leverage": Style((("mlev", 0.38), ("dtoa", 0.35), ("blev", 0.27)), ("mlev", "dtoa", "blev")),
    "dividend_yield": Style((("dtop", 1.0),), ("dtop",)),
    "short_term_reversal": Style((("strev", 1.0),), ("strev",)),
}
"""In the order of the factor axis."""

STYLE_NAMES = tuple(STYLES)
