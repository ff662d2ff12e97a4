"""The risk model as it was known at the close of a date: covariance, specific variances, links, and covered books."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from actors.reading.books import Book
from actors.reading.slices import Day, Slice, caps_name, returns_of_risk, settings_of
from contracts.errors import InvalidInput
from factors.errors import NonFiniteError
from factors.panel.memberships import SHARES, joined_codes
from factors.portfolio.coverage import Policy, Stand, StandIn, cover
from factors.risk.covariance import FactorCovariance
from factors.risk.eigenfactor import Products
from factors.risk.linked import LINK_DAYS, Linked, issuer_groups, link
from factors.risk.specific import SpecificRisk
from store import Version
from store.lru import LRU

KEPT = 8
PROXY_CAP_DAYS = 252
"""How far back the last known capitalisation of a name is looked for."""


class Estimates(NamedTuple):
    """Daily factor covariance [K, K] and specific variances [n_assets]."""

    covariance: np.ndarray
    specific: np.ndarray


class Covered(NamedTuple):
    """Books on the names that any of them holds; see `factors.portfolio.coverage.Covered`.

    Attributes
    ----------
    columns
        Positions of these names in the slice, [n].
    weights
        One row a book, [P, n].
    exposures, specific
        [n, K] and [n].
    linked
        Of these names.
    uncovered
        Names that the model does not cover and some book holds.
    share
        Of each book's gross weight that they are, [P].
    """

    columns: np.ndarray
    weights: np.ndarray
    exposures: np.ndarray
    specific: np.ndarray
    linked: Linked
    uncovered: list[str]
    share: np.ndarray


class RiskReader:
    """Reads the risk model of slices; what had to be estimated again for a past date is kept.

    Parameters
    ----------
    products
        Gives what makes the products of eigenfactor draws, where a device may; None or default: the CPU.
    """

    def __init__(self, products: Callable[[], Products | None] = lambda: None) -> None:
        self._products = products
        self._past: LRU[tuple[str, int, int], Estimates] = LRU(KEPT)
        self._linked: LRU[tuple[str, int, int], Linked] = LRU(KEPT)

    def estimates(self, found: Slice) -> Estimates:
        """Give the estimates of a slice's date: those that the model carries, or, in the past, those it then had."""
        version = found.version
        if found.row == version.manifest.n_dates - 1:
            return Estimates(
                np.asarray(version.latest("answer/factor_covariance")),
                np.asarray(version.latest("answer/specific_variance")),
            )
        key = (found.model_id, found.number, found.row)
        return self._past.get_or_make(key, lambda: self._estimated(found))

    def _estimated(self, found: Slice) -> Estimates:
        return estimated(found.version, slice(0, found.row + 1), found.exposures, self._products())

    def linked(self, found: Slice) -> Linked:
        """Give the correlations of specific returns of names of one issuer."""
        version = found.version
        if "issuer" not in version.manifest.meta["category_names"]:
            return Linked()
        key = (found.model_id, found.number, found.row)
        return self._linked.get_or_make(key, lambda: _linked(version, found.row))

    @staticmethod
    def linked_over(version: Version, days: slice, columns: np.ndarray) -> list[Linked]:
        """Give the same for each close of a period, among some names, in their positions."""
        if "issuer" not in version.manifest.meta["category_names"]:
            return [Linked()] * (days.stop - days.start)
        return [_linked(version, row, columns).among(columns) for row in range(days.start, days.stop)]

    def cover(self, found: Slice, books: Sequence[tuple[str, Book]], policy: Policy) -> Covered:
        """Put books on the names that any of them holds and deal with what the model does not cover.

        Parameters
        ----------
        books
            Field of the request and book.
        policy
            `refuse`, `warn` or `proxy`.

        Raises
        ------
        InvalidInput
            A book that must not hold uncovered names does, or holds nothing else.
        """
        columns = np.unique(np.concatenate([book.columns for _, book in books])).astype(np.intp)
        if not columns.size and any(book.cash for _, book in books):
            columns = np.zeros(1, np.intp)  # money alone: a name at weight 0 has its exposures and its risk
        if not columns.size:
            raise InvalidInput(f"{books[0][0]} holds no name of the model", field=books[0][0])
        weights = np.array([book.on(columns) for _, book in books])
        exposures = found.exposures_of(columns)
        specific = self.estimates(found).specific[columns]
        symbols = [found.symbols[i] for i in columns]
        blank = np.isnan(exposures).any(axis=1) | np.isnan(specific)
        share = np.zeros(len(books))
        if blank.any():
            stand = self._stand(found, columns) if policy == "proxy" else None
            for p, (name, _) in enumerate(books):
                try:
                    got = cover(
                        weights[p : p + 1], exposures, specific, policy, stand=stand, symbols=symbols, field=name
                    )
                except NonFiniteError as error:
                    raise InvalidInput(
                        str(error), field=name, rows=_names(symbols, blank & (weights[p] != 0.0))
                    ) from None
                size = np.abs(weights[p])
                share[p] = size[blank].sum() / (size.sum() or 1.0)
                weights[p] = got.weights[0]
                if policy == "proxy":
                    exposures, specific = got.exposures, got.specific_variance
        missing = _names(symbols, blank)
        return Covered(columns, weights, exposures, specific, self.linked(found).among(columns), missing, share)

    def choice(
        self, found: Slice, columns: np.ndarray, named: Sequence[tuple[str, np.ndarray]], policy: Policy
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Give what weights are looked for with: exposures [n, K], specific variances [n], and what is not covered.

        Parameters
        ----------
        columns
            Positions of the names in the slice, ascending, [n].
        named
            Field of the request, and which of the names it holds or allows, [n].
        policy
            `refuse`; `warn`, which leaves uncovered names NaN; `proxy`, which stands in for those that a field names.

        Raises
        ------
        InvalidInput
            `refuse`, and a field names what the model does not cover.
        """
        exposures = found.exposures_of(columns)
        specific = self.estimates(found).specific[columns].copy()
        symbols = [found.symbols[i] for i in columns]
        blank = np.isnan(exposures).any(axis=1) | np.isnan(specific)
        wanted = np.zeros(len(columns), bool)
        for field, those in named:
            wanted |= blank & those
            missing = _names(symbols, blank & those)
            if missing and policy == "refuse":
                raise InvalidInput(
                    f"{field} names assets that the model does not cover on {found.date_text}: "
                    f"{', '.join(missing[:10])}{' ...' if len(missing) > 10 else ''}",
                    field=field,
                    rows=missing,
                )
        if policy == "proxy" and wanted.any():
            exposures = exposures.copy()
            at = np.flatnonzero(wanted)
            exposures[at], specific[at] = self._stand(found, columns)(at)
        return exposures, specific, _names(symbols, wanted)

    def _stand(self, found: Slice, columns: np.ndarray) -> StandIn:
        """Give what stands in for names among `columns`, which it is asked for by their positions there."""
        variance = np.where(found.known, self.estimates(found).specific, np.nan)
        stand = stand_of(found.version, found.row, columns, found.day, variance)
        return lambda at: stand(columns[at])


def stand_of(version: Version, row: int, columns: np.ndarray, day: Day, variance: np.ndarray) -> Stand:
    """Give what stands in for names among `columns` on a day, with their last known caps and sectors.

    Parameters
    ----------
    variance
        `[n_assets]` specific variances of the names that are covered, NaN for others.
    """
    first = max(0, row + 1 - PROXY_CAP_DAYS)
    history = np.asarray(version.day_asset(caps_name(version), slice(first, row + 1)))
    caps = history[-1].copy()
    for column in columns:
        known = np.flatnonzero(history[:, column] > 0.0)
        caps[column] = history[known[-1], column] if known.size else np.nan
    sectors = _last_sectors(version, row, columns, day)
    return Stand(day.scores, day.known, sectors, day.n_sectors, caps, variance, day.shares)


def _names(symbols: Sequence[str], mask: np.ndarray) -> list[str]:
    return [symbols[int(i)] for i in np.flatnonzero(mask)]


def _last_sectors(version: Version, row: int, columns: np.ndarray, day: Day) -> np.ndarray:
    """Give codes of the day's sectors and memberships; of the columns the last known ones."""
    codes = day.codes.astype(np.int64)
    blank = columns[codes[columns] < 0]
    if day.n_sectors and len(blank):
        days = slice(max(0, row + 1 - PROXY_CAP_DAYS), row + 1)
        history = np.asarray(version.day_asset("category/sector", days))[:, blank]
        if len(day.shares):
            several = np.asarray(version.day_asset(f"category/{SHARES}", days))[:, blank]
            history = joined_codes(history, several, day.n_sectors)
        for column, past in zip(blank, history.T, strict=True):
            known = np.flatnonzero(past >= 0)
            codes[column] = past[known[-1]] if known.size else -1
    return codes


def _linked(version: Version, row: int, among: np.ndarray | None = None) -> Linked:
    """Estimate the links at a close: all, or those of issuers that have two of some names."""
    codes = np.asarray(version.day_asset("category/issuer", slice(row, row + 1))[0]).astype(np.int64)
    groups = issuer_groups(codes)
    if among is not None:
        groups = tuple(group for group in groups if np.isin(group, among).sum() > 1)
        if not groups:
            return Linked()
    days = slice(max(0, row + 1 - LINK_DAYS), row + 1)
    if among is None:
        return link(groups, np.asarray(version.day_asset("residuals", days)))
    members = np.concatenate(groups)
    ends = np.cumsum([len(group) for group in groups])
    own = [np.arange(end - len(group), end) for group, end in zip(groups, ends, strict=True)]
    made = link(own, version.day_asset("residuals", days, members))
    return Linked(groups, made.correlations)


def estimated(version: Version, days: slice, exposures: np.ndarray, products: Products | None = None) -> Estimates:
    """Estimate over a part of the history with the model's settings, specific risk on all its names.

    Over all days up to one it gives the bits that the model carried at its close; with the `products` of a device, see
    `factors.risk.eigenfactor.ratios_together`, the same to seven digits.
    """
    settings = settings_of(version)
    covariance = FactorCovariance(settings.factor_covariance).fit(returns_of_risk(version, days), products).covariance_
    residuals = np.asarray(version.day_asset("residuals", days))
    caps = np.asarray(version.day_asset(caps_name(version), days))
    return Estimates(
        covariance, SpecificRisk(settings.specific_risk).fit(residuals, caps, exposures).specific_variance_
    )
