"""Portfolios: stored books, what they did, and books that are looked for."""

from __future__ import annotations

from actors.portfolio.construction import Construction
from actors.portfolio.past import PastBooks
from actors.portfolio.reader import BookReader
from actors.portfolio.stored import StoredBooks
from actors.reading.risk_path import RiskPaths
from actors.reading.slices import Slices
from contracts.operations import OPERATIONS


class PortfolioFactorAttribution(PastBooks, StoredBooks, Construction):
    """Attributes returns with each day's exposures as they were known the day before; keeps and constructs books."""

    def prepare(self) -> None:
        """Open the stores; the solver is loaded when it is first asked for."""
        self.slices = Slices()
        self.books = BookReader(self.slices)
        self.paths = RiskPaths()
        self.find_devices("portfolio_factor_attribution", OPERATIONS["risk_history"].able)
