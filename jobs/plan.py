"""What of a work is to be made: blocks of days by the hash of all that they follow from, and chains of such blocks."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from actors.library.formulas import Formulas, read_registered
from actors.library.values import tiers
from contracts.errors import DateOutsideModel, InvalidInput
from contracts.settings import Settings
from contracts.version import VERSION
from factors.library import Catalogue
from factors.library.definitions.fields import computable, library_fields
from jobs.parts import Slot
from jobs.source import BLOCK_DAYS, Place, Source, digest_of
from jobs.work import Work
from store import PortfolioStore
from store.place import store_place

ROOT = Path(__file__).parent.parent
MODEL = "model"
GROUP_FACTORS = 96
"""Factors of a group at most: so many columns of a block are in memory, and so much is done again after a kill."""
GROUP_BYTES = 512 << 20
"""Of a group's values in a block at most: of many names groups are small, which need less memory and share out well."""


@dataclass(frozen=True)
class Chain:
    """Blocks that one task makes, one after the other, since each goes on from the one before.

    Parameters
    ----------
    name
        Of the chain: `MODEL`, or a group of the library.
    ids
        Factors of the group.
    what
        What each block gives.
    formulas
        A hash of the registered formulas among `ids`: an id may be registered anew with another. Empty without any.
    """

    name: str
    what: tuple[str, ...]
    ids: tuple[str, ...] = ()
    formulas: str = ""

    @property
    def made_of(self) -> str:
        """Name what a group computes; empty for the model, whose settings are in the keys."""
        return ",".join(self.ids) + (f";{self.formulas}" if self.formulas else "")


@dataclass(frozen=True)
class Plan:
    """All that is to be made of one source.

    Parameters
    ----------
    place
        Where workers open the source.
    rows
        The days that are wanted.
    blocks
        The days of each block from the first day on, the last of them up to the end of `rows`.
    keys
        By block, a hash of all that it follows from: the engine, the settings, and the days up to its end.
    chains
        What is made.
    """

    place: Place
    engine: str
    rows: tuple[int, int]
    blocks: tuple[tuple[int, int], ...]
    days: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]
    chains: tuple[Chain, ...]
    missing: dict[str, str]
    books: tuple[tuple[str, int], ...] = ()
    """Books whose returns are attributed, with their versions; 0 where a book follows from the market."""

    @property
    def wanted(self) -> tuple[int, ...]:
        """Numbers of the blocks that have a day that is wanted."""
        return tuple(i for i, (first, last) in enumerate(self.blocks) if last > self.rows[0] and first < self.rows[1])

    def slot(self, what: str, chain: Chain, block: int) -> Slot:
        """Give the place of what a chain makes of a block."""
        kind = chain.name if chain.ids else what
        more = self.books if what == "attribution" else chain.made_of
        key = hashlib.blake2b(f"{self.keys[block]}:{more}:{self.cut(block)}".encode(), digest_size=6)
        return Slot(kind, *self.days[block], key.hexdigest())

    def carried(self, chain: Chain) -> tuple[str, ...]:
        """Give by block the key of what a chain carries behind it: a group's is of its factors alone."""
        if not chain.ids:
            return self.keys
        return tuple(_hash(f"{key}:{chain.made_of}".encode()).hex() for key in self.keys)

    def cut(self, block: int) -> tuple[int, int]:
        """Give the rows of a block that are wanted, counted from its first."""
        first, last = self.blocks[block]
        return max(self.rows[0] - first, 0), min(self.rows[1], last) - first

    def slots(self) -> list[Slot]:
        """List the places of all parts."""
        return [self.slot(what, chain, block) for chain in self.chains for block in self.wanted for what in chain.what]


def make_plan(work: Work, place: Place, source: Source, current: Settings) -> Plan:
    """Plan a work on a source.

    Raises
    ------
    DateOutsideModel
        The period is not within the data.
    UnknownFactor, InvalidInput
        A factor that is none, or that the data cannot compute.
    """
    rows = _rows(work, source)
    edges = [*range(0, rows[1], BLOCK_DAYS), rows[1]]
    blocks = tuple(pairwise(edges))
    engine = engine_digest()
    seed = orjson.dumps([engine, source.settings, source.recipe.to_dict()], option=orjson.OPT_SORT_KEYS)
    read = (digest_of(source.panel(slice(first, last))) for first, last in blocks)
    chained = accumulate(read, lambda before, block: _hash(before + block), initial=_hash(seed))
    keys = tuple(key.hex() for key in list(chained)[1:])
    days = tuple((str(source.dates[first]), str(source.dates[last - 1])) for first, last in blocks)
    chains: list[Chain] = []
    of_model = tuple(name for name in work.wanted if name != "library")
    if of_model:
        chains.append(Chain(MODEL, of_model))
    missing: dict[str, str] = {}
    if "library" in work.wanted:
        groups, missing = library_groups(work, source, current)
        chains = [*chains, *groups]
    books = _books(current) if "attribution" in of_model else ()
    return Plan(place, engine, rows, blocks, days, keys, tuple(chains), missing, books)


def library_groups(work: Work, source: Source, current: Settings) -> tuple[list[Chain], dict[str, str]]:
    """Group the factors by how far they look back, and split large groups; gives also those that cannot be computed."""
    formulas = formulas_of(current)
    head = library_fields(source.panel(slice(0, 2)))
    ids, missing = computable(formulas.library, head.available)
    if work.factors:
        wanted = formulas.resolve(list(work.factors))
        lacking = [name for name in wanted if name in missing]
        if lacking:
            why = f"{lacking[0]} {missing[lacking[0]]}"
            raise InvalidInput(f"the data cannot compute every factor: {why}", field="factors", rows=lacking)
        ids, missing = wanted, {}
    groups = []
    widest = group_factors(len(source.symbols))
    for number, tier in enumerate(tiers(formulas.library, ids)):
        n = -(-len(tier) // widest)
        size = -(-len(tier) // n)
        for part in range(n):
            some = tier[part * size : (part + 1) * size]
            groups.append(Chain(f"library-{number}-{part}", ("library",), some, registered_of(formulas, some)))
    return groups, missing


def group_factors(n_names: int) -> int:
    """Give the most factors of a group for so many names."""
    return max(min(GROUP_FACTORS, GROUP_BYTES // (BLOCK_DAYS * n_names * 8)), 1)


def registered_of(formulas: Formulas, ids: tuple[str, ...]) -> str:
    """Hash the registered formulas among some factors; empty where none of them is one."""
    found = formulas.registered
    said = [(name, found[name].text, found[name].conventions.digest) for name in ids if name in found]
    return hashlib.blake2b(repr(said).encode(), digest_size=8).hexdigest() if said else ""


@lru_cache(maxsize=1)
def formulas_of(current: Settings) -> Formulas:
    """Read the catalogue, and the formulas that callers registered."""
    catalogue = Catalogue.load()
    return Formulas(catalogue, read_registered(store_place(current), catalogue))


@lru_cache(maxsize=1)
def engine_digest() -> str:
    """Name the code that computes: two nodes with the same digest give the same bytes."""
    digest = hashlib.sha256(" ".join([VERSION, *(f"{p} {version(p)}" for p in ("numpy", "numba", "polars"))]).encode())
    for room in ("factors", "jobs"):
        for path in sorted((ROOT / room).rglob("*.*")):
            if path.suffix in (".py", ".toml", ".lark"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def describe(plan: Plan, source: Source, work: Work) -> dict[str, Any]:
    """Give what the manifest says of what the results follow from."""
    return {
        "engine": {"version": VERSION, "digest": plan.engine},
        "input": {**source.told, "sha": plan.keys[-1], "n_dates": plan.rows[1], "n_assets": len(source.symbols)},
        "start": str(source.dates[plan.rows[0]]),
        "end": str(source.dates[plan.rows[1] - 1]),
        "what": list(work.wanted),
        "settings": source.settings,
        "recipe": source.recipe.to_dict(),
        "groups": {chain.name: list(chain.ids) for chain in plan.chains if chain.ids},
        "not_computable": plan.missing,
    }


def _rows(work: Work, source: Source) -> tuple[int, int]:
    dates = source.dates
    known = f"the data go from {dates[0]} to {dates[-1]}"
    for name in ("start", "end"):
        text = getattr(work, name)
        if text is not None and not dates[0] <= np.datetime64(dt.date.fromisoformat(text)) <= dates[-1]:
            raise DateOutsideModel(f"{text} is outside: {known}", field=name)
    first = 0 if work.start is None else int(np.searchsorted(dates, np.datetime64(work.start)))
    last = len(dates) if work.end is None else int(np.searchsorted(dates, np.datetime64(work.end), "right"))
    if first >= last:
        raise DateOutsideModel(f"no day lies from {work.start} to {work.end}: {known}", field="start")
    return first, last


def _books(current: Settings) -> tuple[tuple[str, int], ...]:
    store = PortfolioStore(store_place(current), current.keep_versions)
    return (("market", 0), *((name, store.get(name).version) for name in store.ids()))


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
