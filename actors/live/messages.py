"""Market data as it lies in the journal, read into ticks of many names and running bars.

Ticks that follow each other and say the same things become one block, so that ten thousand messages cost a few calls.
What cannot be read is counted by kind; nothing of it is computed with.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from contracts.arrow_stream import stream_size
from contracts.events import untoken
from contracts.frames import ARROW_STREAM, from_bulk
from contracts.live_requests import DEFAULT_MARKET

if TYPE_CHECKING:
    import polars as pl

TICK, TICKS, BAR, CLOSE = "market_data.tick.", "market_data.ticks", "market_data.bar.", "market_data.close."
ABOUT = frozenset(("symbol", "time", "sequence", "source", "market", "date"))
"""What a tick says beside its numbers."""
ROWS_MOST = 200_000
"""Of one table."""
NUMBERS_END = 2**63
"""Numbers and times are below it: they are kept as int64."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass
class Block:
    """Ticks of one market that say the same things, in their order.

    Attributes
    ----------
    symbols : list of str [n]
    values : dict of str to list or array [n]
    times_us : list or array [n]
        Microseconds since 1970, -1 for none.
    sequence : int, int array [n] or None
        The number of the first message; those behind it count by one. Or the number of each.
    """

    market: str
    source: str
    symbols: list[str]
    values: dict[str, Any]
    times_us: Any
    sequence: int | NDArray[np.int64] | None = None
    messages: int = 1

    @property
    def numbers(self) -> int | NDArray[np.int64] | None:
        """The number of a table, or of each tick that came by itself."""
        if self.sequence is None or self.messages == 1 or not isinstance(self.sequence, int):
            return self.sequence
        return np.arange(self.sequence, self.sequence + self.messages)

    def some(self, wanted: NDArray[np.bool_], numbered: bool = False) -> Block:
        """Give some of the ticks; without their numbers, unless those are asked for."""
        at = np.flatnonzero(wanted)
        values: dict[str, Any] = {name: np.asarray(v, np.float64)[at] for name, v in self.values.items()}
        symbols = [self.symbols[i] for i in at.tolist()]
        numbers = self.numbers if numbered else None
        if isinstance(numbers, np.ndarray):
            numbers = numbers[at]
        times = np.asarray(self.times_us, np.int64)[at]
        return Block(self.market, self.source, symbols, values, times, numbers, len(at))


@dataclass
class DayEnd:
    """The end of a model's day: a final bar, or a message that says that the day is over.

    Attributes
    ----------
    rows : table, as it came, or None
        Of a final bar.
    date : str or None
    place : int
        Of the message in the journal; 0 for a bar.
    """

    model_id: str
    rows: Any
    date: Any = None
    place: int = 0


@dataclass
class RunningBar:
    """A model's day so far: the body as it came."""

    model_id: str
    rows: Any


@dataclass
class Unread:
    """What could not be read, by kind; the newest with its subject."""

    counts: Counter[str] = field(default_factory=Counter)
    last: str = ""

    def note(self, kind: str, subject: str) -> None:
        """Count one."""
        self.counts[kind] += 1
        self.last = f"{kind}: {subject}"


Item = Block | RunningBar | DayEnd


def read(messages: Iterable[tuple[str, bytes, str | None]], unread: Unread) -> Iterator[Item]:
    """Read messages in their order."""
    open_block: Block | None = None
    for subject, body, kind in messages:
        try:
            if subject.startswith(TICK):
                block = _tick(subject, body)
                if open_block is not None and _joined(open_block, block):
                    continue
                if open_block is not None:
                    yield open_block
                open_block = block
                continue
            made: list[Block] | list[DayEnd] | list[RunningBar | DayEnd]
            if subject.startswith(CLOSE):
                made = [_close(subject, body, kind)]
            else:
                made = _table(body, kind) if subject == TICKS else [_bar(subject, body)]
        except Exception:  # noqa: BLE001  one body that breaks its reader must not take along those behind it
            unread.note("unreadable", subject)
            continue
        if open_block is not None:
            yield open_block
            open_block = None
        yield from made
    if open_block is not None:
        yield open_block


def _tick(subject: str, body: bytes) -> Block:
    row = orjson.loads(body)
    if not isinstance(row, dict):
        raise TypeError("a tick is an object")
    symbol = row.get("symbol")
    if symbol is None:
        symbol = untoken(subject[len(TICK) :])
    values = {name: [_number(value)] for name, value in row.items() if name not in ABOUT}
    if not values or not isinstance(symbol, str):
        raise ValueError("a tick has a symbol and a number")
    sequence = row.get("sequence")
    if sequence is not None and not (type(sequence) is int and 0 <= sequence < NUMBERS_END):
        raise ValueError("a sequence is a whole number")
    return Block(
        str(row.get("market") or DEFAULT_MARKET), str(row.get("source") or ""), [symbol], values,
        [time_us(row.get("time"))], sequence,
    )  # fmt: skip


def _number(value: Any) -> float:
    """Read a number of a tick. True and false are none, though Python counts with them."""
    if value is None:
        return float("nan")
    if isinstance(value, bool):
        raise TypeError("true is no number")
    return float(value)


def _joined(block: Block, tick: Block) -> bool:
    """Put a tick behind a block where it says the same things and its number is the next."""
    if (
        block.values.keys() != tick.values.keys()
        or block.market != tick.market
        or block.source != tick.source
        or tick.sequence != (block.sequence + block.messages if isinstance(block.sequence, int) else None)
        or not isinstance(block.times_us, list)
    ):
        return False
    block.symbols.append(tick.symbols[0])
    for name, values in tick.values.items():
        block.values[name].append(values[0])
    block.times_us.append(tick.times_us[0])
    block.messages += 1
    return True


def _table(body: bytes, kind: str | None) -> list[Block]:
    """Read a table: symbol, time where there is one, and a column for each number; a block for each source in it."""
    import polars as pl

    if kind not in (None, ARROW_STREAM):
        raise ValueError("a table of ticks is an Arrow IPC stream")
    if stream_size(body).n_rows > ROWS_MOST:
        raise ValueError("too many rows")
    frame = from_bulk(body, ARROW_STREAM)
    symbols = frame["symbol"].cast(pl.String).to_list()
    times = _times(frame)
    values = {}
    for name in frame.columns:
        if name not in ABOUT:
            if frame[name].dtype == pl.Boolean:
                raise TypeError("true is no number")
            values[name] = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if not values:
        raise ValueError("a tick has a number")
    numbers = _numbers(frame)
    found = []
    for (market, source), at in _sources(frame).items():
        own = None if numbers is None else numbers[at]
        # One number on every row is that of the message, others are each row's own.
        sequence = None if own is None else int(own[0]) if (own == own[0]).all() else own
        part = {name: column[at] for name, column in values.items()}
        named = symbols if isinstance(at, slice) else [symbols[i] for i in at]
        found.append(Block(market, source, named, part, times[at], sequence))
    return found


def _times(frame: pl.DataFrame) -> NDArray[np.int64]:
    """Read the times of a table, -1 where a row has none."""
    import polars as pl

    if "time" not in frame.columns:
        return np.full(frame.height, -1, np.int64)
    column = frame["time"]
    if column.dtype == pl.String:
        return np.array([time_us(value) for value in column], np.int64)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if column.dtype == pl.Datetime:
        column = column.dt.epoch("us")
    elif not (column.dtype.is_integer() or column.dtype.is_float()):
        raise TypeError("a time is a date with its time, or microseconds")
    if (column < 0).any():
        raise ValueError("a time is after 1970")
    return column.cast(pl.Int64).fill_null(-1).to_numpy()


def _sources(frame: pl.DataFrame) -> dict[tuple[str, str], Any]:
    """Give the rows of each market and source of a table, in their order; a row that names none has the default."""
    import polars as pl

    if not frame.height:
        return {}
    named = {}
    for name, default in (("market", DEFAULT_MARKET), ("source", "")):
        words = [None] * frame.height if name not in frame.columns else frame[name].cast(pl.String).to_list()
        named[name] = [word or default for word in words]
    rows: dict[tuple[str, str], list[int]] = {}
    for i, pair in enumerate(zip(named["market"], named["source"], strict=True)):
        rows.setdefault(pair, []).append(i)
    return {pair: slice(None) for pair in rows} if len(rows) == 1 else {**rows}


def _numbers(frame: pl.DataFrame) -> NDArray[np.int64] | None:
    """Give the sequence of a table's rows; None where no row has one."""
    import polars as pl

    if "sequence" not in frame.columns or frame["sequence"].null_count() == frame.height:
        return None
    given = frame["sequence"]
    if given.dtype == pl.Boolean or given.null_count():
        raise TypeError("a sequence is a whole number, on every row or on none")
    numbers = given.cast(pl.Int64)
    if (numbers < 0).any() or (given.dtype.is_float() and (numbers != given).any()):
        raise ValueError("a sequence is a whole number")
    return numbers.to_numpy()


def _bar(subject: str, body: bytes) -> RunningBar | DayEnd:
    """Read a bar, running or final."""
    value = orjson.loads(body)
    if not isinstance(value, Mapping):
        raise TypeError("a bar is an object")
    made = DayEnd if value.get("final", True) is not False else RunningBar
    return made(str(value.get("model_id") or untoken(subject[len(BAR) :])), value["rows"])


def _close(subject: str, body: bytes, place: str | None) -> DayEnd:
    value = orjson.loads(body)
    if not isinstance(value, dict):
        raise TypeError("the end of a day is an object")
    model_id = str(value.get("model_id") or untoken(subject[len(CLOSE) :]))
    return DayEnd(model_id, None, value["date"], int(place or 0))


def time_us(value: Any) -> int:
    """Give a time, ISO text or microseconds since 1970, as microseconds; -1 for none.

    A text without an offset is taken as it stands: days are cut at midnight of the times given. Raises `ValueError` or
    `TypeError` for what is no time, or lies before 1970: below 0 is no time at all.
    """
    if value is None:
        return -1
    if isinstance(value, bool):
        raise TypeError("true is no time")
    if isinstance(value, str):
        moment = dt.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        time = (moment - _EPOCH) // dt.timedelta(microseconds=1)
    else:
        time = int(value)
    if not 0 <= time < NUMBERS_END:
        raise ValueError("a time is after 1970, and can be counted in microseconds")
    return time
