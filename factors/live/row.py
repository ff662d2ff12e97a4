"""Ticks to a provisional row: the last price, the return since the close, the day's range and volume so far.

Nothing of what is rejected is computed with: it is counted, and named by kind and symbol.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.live import row_kernel as k
from factors.panel.actions import RAW
from factors.panel.axis import positions
from factors.panel.panel import Array, Panel

NAMED = 100
"""Rejections that are kept by name, the newest."""
MISSED_KEPT = 10_000
"""Numbers of a source that were missed and may still come late; older ones count as duplicates when they come."""
BAR = ("open", "high", "low", "close", "volume")
ACTS = (("split_ratio", k.SPLIT_RATIO), ("dividend", k.DIVIDEND))
DAY_US = 86_400_000_000
LEFT = np.int8(-1)
"""Within `take`: a tick that is another row's."""


@dataclass(frozen=True)
class Rejection:
    """A tick that was not taken."""

    kind: str
    symbol: str
    time_us: int | None
    sequence: int | None


@dataclass
class Rejections:
    """What was not taken, and what did not come.

    Attributes
    ----------
    counts : Counter of kind
        Ticks that were not taken, by the kinds of `row_kernel.KINDS`.
    gaps, missed : int
        How often a source's numbers jumped, and how many numbers are missing because of that.
    last : deque of Rejection
        The newest, at most `NAMED`.
    """

    counts: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    missed: int = 0
    last: deque[Rejection] = field(default_factory=lambda: deque(maxlen=NAMED))


class LiveRow:
    """The provisional row of a day, from trades, quotes and running bars.

    The return of a name is that of its last price, with a split or dividend that was told, against the last close:
    ``(price + dividend) * split_ratio / close - 1``; its cap is the last close's cap moved by the price alone,
    ``cap * price * split_ratio / close``. A name without a price has neither. The middle of a quote is a price until
    the name has traded. Days are cut at midnight of the times given, which are the exchange's.

    Parameters
    ----------
    symbols : sequence of str
    date : datetime64[D]
    close, market_cap : float64 [n_assets]
        Of the day before, in the terms of the ticks: not adjusted. NaN where there is none.

    Attributes
    ----------
    symbols : tuple of str
    rejections : Rejections
    taken : int
        Ticks that were taken.
    time_us : int or None
        The newest time of a tick taken, microseconds since 1970.
    """

    def __init__(self, symbols: Sequence[str], date: Any, close: Array, market_cap: Array | None = None) -> None:
        self.symbols = tuple(symbols)
        self.date = np.datetime64(date, "D")
        self._first = int(self.date.astype(np.int64)) * DAY_US
        n = len(self.symbols)
        self._position = positions(self.symbols)
        self._state = np.full((len(k.STATE), n), np.nan)
        for name, values in (("close", close), ("market_cap", market_cap)):
            if values is not None and np.shape(values) != (n,):
                raise FactorError(f"{name!r} has shape {np.shape(values)}; expected {(n,)}", field=name)
        self._state[k.BEFORE] = close
        self._cap = np.full(n, np.nan) if market_cap is None else np.array(market_cap, dtype=np.float64)
        self._times = np.full(n, -1, dtype=np.int64)
        self._given: dict[str, Array] = {}
        self._dirty = np.zeros(n, dtype=np.bool_)
        self._last: dict[str, int] = {}
        self._missed: dict[str, dict[int, None]] = {}
        self.rejections = Rejections()
        self.taken = 0
        self.time_us: int | None = None

    @classmethod
    def after(cls, panel: Panel, date: Any) -> LiveRow:
        """Begin the row of a day after a panel's last: its names, its closes as they were traded, and its caps."""
        nothing = np.full(panel.n_assets, np.nan)
        close = panel.fields.get(RAW["close"], panel.fields.get("close"))
        cap = panel.fields.get("market_cap")
        return cls(panel.symbols, date, nothing if close is None else close[-1], None if cap is None else cap[-1])

    def stand(self, state: Mapping[int, Array]) -> None:
        """Begin where a day stood: rows of the state by their place in `row_kernel.STATE`, each [n_assets]."""
        for place, values in state.items():
            self._state[place] = values

    def passed(self, time_us: int) -> NDArray[np.bool_]:
        """Say of which names a tick of this time or a later one was taken, bool [n_assets]."""
        return self._times >= time_us

    def columns(self, symbols: Sequence[str]) -> NDArray[np.int64]:
        """Give the columns of names, -1 for one that the row does not have."""
        find = self._position.get
        return np.array([find(name, -1) for name in symbols], dtype=np.int64)

    def act(self, symbol: str, *, split_ratio: float = 1.0, dividend: float = 0.0) -> None:
        """Tell of a split (new shares for an old one) or a cash dividend a share whose ex-date is this day.

        Raises
        ------
        FactorError
            An unknown name, a ratio that is not positive, or a negative dividend.
        """
        column = self._position.get(symbol)
        if column is None:
            raise FactorError(f"the row has no {symbol!r}", field="symbol")
        if not (np.isfinite(split_ratio) and split_ratio > 0.0):
            raise FactorError("'split_ratio' must be positive", field="split_ratio")
        if not (np.isfinite(dividend) and dividend >= 0.0):
            raise FactorError("'dividend' must be 0 or more", field="dividend")
        self._state[k.SPLIT_RATIO, column] = split_ratio
        self._state[k.DIVIDEND, column] = dividend
        self._dirty[column] = True

    def take(
        self,
        symbols: Sequence[str],
        values: Mapping[str, Any],
        *,
        time_us: Any = None,
        sequence: int | NDArray[np.int64] | None = None,
        source: str = "",
        leave: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int8]:
        """Take the ticks of one message, or of many of one tick each, in their order.

        Parameters
        ----------
        symbols : sequence of str [n]
        values : mapping of str to float [n]
            `price`, with `size` where it is known: trades. `bid` and `ask`: quotes. Any of `open`, `high`, `low`,
            `close`, `volume`: the day so far. Other names (`returns`, `market_cap`, fields of the model) are put into
            the row as they are, where the tick is taken; a given return or cap goes before the computed one. Of them
            `split_ratio` and `dividend` tell of an action whose ex-date is this day, as `act` does.
        time_us : int or int array [n], optional
            Microseconds since 1970.
        sequence : int or int array [n], optional
            The message's number, or the number of each tick's own message; each source counts by 1. A number that was
            taken before makes every tick of the message a duplicate, one that comes after a higher one makes them late,
            and a jump is a gap.
        source : str
        leave : bool [n], optional
            Ticks that are not this row's: only their numbers are counted, so that they leave no gap.

        Returns
        -------
        int8 [n]
            What became of each tick, an index into `row_kernel.KINDS`; 0 is taken, or left to the caller.

        Raises
        ------
        FactorError
            A wrong length, or nothing that is a tick; nothing is taken.
        """
        columns = self.columns(symbols)
        n = len(columns)
        arrays = {}
        for name, column in values.items():
            arrays[name] = np.ascontiguousarray(column, dtype=np.float64)
            if arrays[name].shape != (n,):
                raise FactorError(f"{name!r} has shape {arrays[name].shape}; expected {(n,)}", field=name)
        if not arrays:
            raise FactorError("a tick has a price, bid and ask, or a field of the day", field="values")
        times = np.full(n, -1, dtype=np.int64)
        if time_us is not None:
            times[:] = time_us
        kind = next((own for own in (("price", "size"), ("bid", "ask")) if own[0] in arrays), BAR)
        given = {name: array for name, array in arrays.items() if name not in kind}
        numbers = sequence.tolist() if isinstance(sequence, np.ndarray) else [sequence]
        codes = np.empty(n, dtype=np.int8)
        codes[:] = [self._order(source, number) for number in numbers]
        left = np.zeros(n, np.bool_) if leave is None else leave & (codes == k.TAKEN)
        codes[left] = LEFT
        _look(given, codes)
        acts = {place: given.pop(name) for name, place in ACTS if name in given}
        before = self._acted(acts, columns, codes, times)
        blank = np.full(n, np.nan)
        about = (times, self._first, self._first + DAY_US, self._state, self._times, self._dirty, codes)
        if kind[0] == "price":
            k.take_trades(columns, arrays["price"], arrays.get("size", blank), *about)
        elif kind[0] == "bid":
            k.take_quotes(columns, arrays["bid"], arrays.get("ask", blank), *about)
        else:
            k.take_bars(columns, np.stack([arrays.get(name, blank) for name in BAR]), *about)
        self._put(given, columns, codes)
        self._undone(before, columns, codes)
        self._count(symbols, codes, times, numbers)
        codes[left] = k.TAKEN
        return codes

    def _acted(
        self, acts: Mapping[int, Array], columns: NDArray[np.int64], codes: NDArray[np.int8], times: NDArray[np.int64]
    ) -> Array | None:
        """Tell of the splits and dividends of ticks, before their prices are looked at; gives what stood before."""
        if not acts:
            return None
        before = self._state[[k.SPLIT_RATIO, k.DIVIDEND]].copy()
        today = (times < 0) | ((times >= self._first) & (times < self._first + DAY_US))
        for place, told in acts.items():
            good = (codes == k.TAKEN) & (columns >= 0) & today & ~np.isnan(told)
            self._state[place, columns[good]] = told[good]
        return before

    def _undone(self, before: Array | None, columns: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        """Take back the actions of names of which no tick was taken."""
        if before is None:
            return
        back = np.ones(len(self.symbols), np.bool_)
        back[columns[codes == k.TAKEN]] = False
        self._state[k.SPLIT_RATIO, back], self._state[k.DIVIDEND, back] = before[0, back], before[1, back]

    def follow(self, before: LiveRow) -> None:
        """Go on counting the sources' messages where another row stood, of the day before or of one put off."""
        self._last, self._missed = before._last, before._missed

    def _order(self, source: str, sequence: int | None) -> int:
        """What a message's number says of all its ticks."""
        if sequence is None:
            return k.TAKEN
        last = self._last.get(source)
        missed = self._missed.setdefault(source, {})
        if last is None or sequence == last + 1:
            self._last[source] = sequence
            return k.TAKEN
        if sequence > last:
            self.rejections.gaps += 1
            self.rejections.missed += sequence - last - 1
            missed.update(dict.fromkeys(range(max(last + 1, sequence - MISSED_KEPT), sequence)))
            while len(missed) > MISSED_KEPT:
                del missed[next(iter(missed))]
            self._last[source] = sequence
            return k.TAKEN
        if sequence in missed:
            del missed[sequence]
            self.rejections.missed -= 1
            return k.LATE
        return k.DUPLICATE

    def _put(self, given: Mapping[str, Array], columns: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        """Put other fields into the row, where they are given and their tick was taken."""
        for name, array in given.items():
            good = (codes == k.TAKEN) & ~np.isnan(array)
            self._given.setdefault(name, np.full(len(self.symbols), np.nan))[columns[good]] = array[good]

    def _count(
        self, symbols: Sequence[str], codes: NDArray[np.int8], times: NDArray[np.int64], numbers: list[int | None]
    ) -> None:
        bad = np.flatnonzero((codes != k.TAKEN) & (codes != LEFT))
        self.taken += int((codes == k.TAKEN).sum())
        newest = int(times[codes == k.TAKEN].max(initial=-1))
        if newest >= 0 and (self.time_us is None or newest > self.time_us):
            self.time_us = newest
        for i in bad.tolist():
            kind = k.KINDS[codes[i]]
            self.rejections.counts[kind] += 1
            time = int(times[i]) if times[i] >= 0 else None
            number = numbers[i if len(numbers) > 1 else 0]
            self.rejections.last.append(Rejection(kind, symbols[i], time, number))

    def values(self, columns: Any = slice(None)) -> dict[str, Array]:
        """Give the row, or some columns of it: fields by name, NaN where there is nothing yet.

        Returns
        -------
        dict of str to float64 [n_assets]
            returns, market_cap, close, open, high, low, volume, vwap, split_ratio, dividend, and what was given.
        """
        s = self._state[:, columns]
        value, volume = s[k.MONEY], s[k.VOLUME]
        known = (volume > 0.0) & (volume < np.inf)
        price = np.where(np.isnan(s[k.PRICE]), s[k.QUOTE], s[k.PRICE])
        split = np.where(np.isnan(s[k.SPLIT_RATIO]), 1.0, s[k.SPLIT_RATIO])
        paid = np.where(np.isnan(s[k.DIVIDEND]), 0.0, s[k.DIVIDEND])
        before = np.where(s[k.BEFORE] > 0.0, s[k.BEFORE], np.nan)
        row = {
            "returns": (price + paid) * split / before - 1.0,
            "market_cap": self._cap[columns] * (price * split / before),
            "close": price,
            "open": s[k.OPEN],
            "high": s[k.HIGH],
            "low": s[k.LOW],
            "volume": s[k.VOLUME],
            "vwap": np.divide(value, volume, out=np.full_like(price, np.nan), where=known),
            "split_ratio": s[k.SPLIT_RATIO],
            "dividend": s[k.DIVIDEND],
        }
        for name, given in self._given.items():
            own = given[columns]
            row[name] = np.where(np.isnan(own), row[name], own) if name in row else own
        return row

    def changed(self) -> tuple[NDArray[np.intp], dict[str, Array]]:
        """Give the columns that changed since the last call and their values, as `LiveDay.tick` takes them."""
        columns = np.flatnonzero(self._dirty)
        self._dirty[columns] = False
        return columns, self.values(columns)


def _look(given: Mapping[str, Array], codes: NDArray[np.int8]) -> None:
    """Say of fields that are put into the row as they are what no model takes."""
    for name, array in given.items():
        codes[(codes == k.TAKEN) & np.isinf(array)] = k.NOT_FINITE
        least = {"returns": -1.0, "market_cap": 0.0, "dividend": 0.0}.get(name)
        if least is not None:
            codes[(codes == k.TAKEN) & (array < least)] = k.NOT_POSITIVE
        if name == "split_ratio":
            codes[(codes == k.TAKEN) & (array <= 0.0)] = k.NOT_POSITIVE
