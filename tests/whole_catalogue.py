"""The catalogue, read once by all tests of a process: each reading parses some six hundred formulas."""

from functools import cache

from factors.library.definitions.catalogue import Catalogue


@cache
def whole_catalogue() -> Catalogue:
    """Read the package's own; nobody changes it."""
    return Catalogue.load()
