"""What a recompute costs as a sum of terms, fitted to runs, and what follows for other sizes and for many nodes.

A term is the size that the work behind it grows with, times a constant that is fitted. All constants are at least 0
(non-negative least squares), since no work takes less than nothing; each run counts by its relative error.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

WITHIN = 0.25
"""A prediction is met when the run is so near to it."""


class Size(NamedTuple):
    """How large a work is.

    Parameters
    ----------
    chains
        Of the library.
    widest
        The most factors of a chain.
    full_days
        Days behind a factor's look-back, the mean of all factors: a value before them is missing, and takes no room.
    """

    names: int
    days: int
    factors: int
    chains: int
    widest: int
    full_days: float


class Term(NamedTuple):
    """One addend of a cost: what it grows with, and what is behind it."""

    grows_with: str
    why: str
    of: Callable[[Size], float]


TERMS: dict[str, tuple[Term, ...]] = {
    "start_s": (Term("1", "imports, kernels, the catalogue of formulas", lambda _: 1.0),),
    "plan_s": (
        Term("1", "groups of factors", lambda _: 1.0),
        Term("days x names", "all days are read and hashed before anything begins", lambda s: s.days * s.names),
    ),
    "model_s": (
        Term("days", "covariance of the factors, which does not know how many names there are", lambda s: s.days),
        Term("days x names", "scores, regression, specific risk, attribution", lambda s: s.days * s.names),
    ),
    "library_s": (
        Term("chains", "formulas are compiled", lambda s: s.chains),
        Term(
            "days x factors", "a step of a formula costs something before its first name", lambda s: s.days * s.factors
        ),
        Term("chains x days x names", "each chain reads the days", lambda s: s.chains * s.days * s.names),
        Term(
            "days x names x factors",
            "each value is computed, written and hashed",
            lambda s: s.days * s.names * s.factors,
        ),
    ),
    "memory_bytes": (
        Term("1", "the program", lambda _: 1.0),
        Term("names", "rows that the model and the formulas look back on, and a block's fields", lambda s: s.names),
        Term(
            "names x widest", "a block of the widest chain, and what its formulas carry", lambda s: s.names * s.widest
        ),
    ),
    "read_bytes": (
        Term("days x names", "planning and the model", lambda s: s.days * s.names),
        Term("chains x days x names", "each chain reads all fields", lambda s: s.chains * s.days * s.names),
    ),
    "written_bytes": (
        Term("days", "returns and covariances", lambda s: s.days),
        Term("days x names", "scores and specific risk; states that are carried", lambda s: s.days * s.names),
        Term("full days x names x factors", "values, compressed", lambda s: s.full_days * s.names * s.factors),
    ),
    "stored_bytes": (
        Term("days", "returns and covariances", lambda s: s.days),
        Term("days x names", "scores and specific risk", lambda s: s.days * s.names),
        Term("full days x names x factors", "values, compressed", lambda s: s.full_days * s.names * s.factors),
    ),
    "input_bytes": (Term("days x names", "the model in the store", lambda s: s.days * s.names),),
}


@dataclass(frozen=True)
class Fitted:
    """The constants of every cost, and how far each is from the runs that it was fitted to at most (a share)."""

    constants: dict[str, tuple[float, ...]]
    errors: dict[str, float]
    longest: float
    """How many times the mean of the library's chains the longest one takes."""

    def predict(self, cost: str, size: Size) -> float:
        """Give a cost in the unit that its name ends with."""
        terms = zip(TERMS[cost], self.constants[cost], strict=True)
        return float(sum(constant * term.of(size) for term, constant in terms))

    def chains(self, size: Size) -> list[float]:
        """Give seconds of each chain: the model's, the longest of the library, the others alike."""
        made = [self.predict("model_s", size)]
        if size.chains:
            whole = self.predict("library_s", size)
            first = whole if size.chains == 1 else min(self.longest * whole / size.chains, whole)
            made += [first, *[(whole - first) / max(size.chains - 1, 1)] * (size.chains - 1)]
        return made


def fit(sizes: Sequence[Size], costs: dict[str, Sequence[float]], longest: float) -> Fitted:
    """Fit every cost to the runs.

    Parameters
    ----------
    sizes
        Of each run.
    costs
        By the names of `TERMS`, the cost of each run; a run of cost 0 says nothing and is left out.
    longest
        As in `Fitted`.

    Raises
    ------
    ValueError
        Fewer runs have a cost than it has terms.
    """
    constants, errors = {}, {}
    for cost, terms in TERMS.items():
        seen = [(size, value) for size, value in zip(sizes, costs[cost], strict=True) if value > 0]
        if len(seen) < len(terms):
            raise ValueError(f"{cost} has {len(terms)} terms, and {len(seen)} runs tell of it")
        rows = np.array([[term.of(size) / value for term in terms] for size, value in seen])
        scale = rows.max(axis=0)
        solved, _ = nnls(rows / scale, np.ones(len(seen)))
        constants[cost] = tuple((solved / scale).tolist())
        errors[cost] = float(np.abs(rows @ (solved / scale) - 1.0).max())
    return Fitted(constants, errors, longest)


def makespan(chains: Sequence[float], slots: int) -> float:
    """Give when the last of some chains ends, the longest begun first and each next one where it is free first."""
    ends = [0.0] * max(min(slots, len(chains)), 1)
    for chain in sorted(chains, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + chain)
    return max(ends)


class Node(NamedTuple):
    """One machine of a cluster."""

    cores: int
    memory_bytes: float
    disk_bytes_per_s: float
    network_bytes_per_s: float


class Forecast(NamedTuple):
    """What a work takes on some nodes."""

    nodes: int
    at_once: int
    """Chains that a node computes at once: so many as it has cores, or as fit into its memory; 0 when none fits."""
    plan_s: float
    compute_s: float
    longest_s: float
    disk_s: float
    network_s: float
    memory_bytes: float
    network_bytes: float
    stored_bytes: float
    bottleneck: str

    @property
    def at_least_s(self) -> float:
        """Seconds: what cannot overlap, planning and computing, or the slowest of what may."""
        return max(self.plan_s + self.compute_s, self.disk_s, self.network_s)


def forecast(fitted: Fitted, size: Size, node: Node, nodes: int) -> Forecast:
    """Predict a work on some nodes that share an object store: each reads the days once and writes its own parts."""
    chain_bytes = fitted.predict("memory_bytes", size)
    at_once = min(node.cores, int(node.memory_bytes // chain_bytes))
    chains = fitted.chains(size)
    busy = min(nodes, -(-len(chains) // max(at_once, 1)))
    compute = makespan(chains, max(at_once, 1) * nodes)
    plan = fitted.predict("start_s", size) + fitted.predict("plan_s", size)
    stored = fitted.predict("stored_bytes", size)
    taken = fitted.predict("input_bytes", size)
    network = (busy * taken + stored) if nodes > 1 else 0.0
    disk = fitted.predict("written_bytes", size) / busy / node.disk_bytes_per_s
    wire = network / busy / node.network_bytes_per_s
    slots = max(at_once, 1)
    work = "the processors" if at_once == node.cores else f"memory, which lets {slots} of {node.cores} cores work"
    shares = {
        work: sum(chains) / (slots * nodes),
        "the longest chain": max(chains),
        "planning, which is one process": plan,
        "the disk": disk,
        "the network": wire,
    }
    names = max(shares, key=lambda name: shares[name]) if at_once else "memory: no chain fits"
    return Forecast(
        nodes, at_once, plan, compute, max(chains), disk, wire, chain_bytes * slots, network, stored, names
    )  # fmt: skip


def within(predicted: float, measured: float) -> bool:
    """Say whether a prediction is met."""
    return math.isfinite(predicted) and measured > 0 and abs(predicted / measured - 1.0) <= WITHIN
