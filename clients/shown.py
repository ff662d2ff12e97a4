"""What a notebook shows of an answer: its tables, a picture, polars frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import PrivateAttr

from clients.tables import tables_of, to_frame
from contracts.answer_table import SHAPES, columns_of
from contracts.frames import decode
from contracts.operations import OPERATIONS, Operation
from contracts.results import Result
from factors.errors import FactorError
from factors.notebook.shown import Shown

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from factors.notebook.style import Picture

QUIET = {"success", "message", "timings_ms", "calculation_id", "messagebus_published", "messagebus_queued"}
"""What nobody looks at twice."""
MOST_LINES = 7
VALUES = "values"
"""The part that the operation's row lays out as a table."""


class Answer(Result, Shown):
    """An answer of the engine that shows itself.

    `to_polars` and `plot` take one of `parts()`, by default what the operation is asked for.
    """

    _operation: str = PrivateAttr("")

    def of(self, operation: Operation) -> Self:
        """Note which operation answered, whose row says how its values are laid out."""
        self._operation = operation.name
        return self

    def parts(self) -> list[str]:
        """Name the tables of the answer, the one that is taken by default first."""
        return list(self._tables())

    def to_polars(self, part: str | None = None) -> pl.DataFrame:
        """Give a table of the answer; without any table, one row of what it says.

        Raises
        ------
        FactorError
            A part that the answer does not have; names those that it has.
        """
        return self._found(part)[1]

    def plot(self, axes: Axes | None = None, part: str | None = None) -> Picture:
        """Draw a table: lines over dates, a heat map of a matrix, and bars of numbers by name.

        Raises
        ------
        FactorError
            An unknown part, or nothing to draw in it; without matplotlib, which the extra `report` brings.
        """
        name, frame = self._found(part)
        return plot_frame(frame, f"{self._operation or type(self).__name__}: {name}", axes, column=name)

    def _repr_html_(self) -> str:
        from factors.notebook.table import of_frame, of_pairs

        found = self.model_dump()
        inner = found.get("calculation_result")
        body = inner if isinstance(inner, Mapping) else found
        small = {
            name: getattr(value, "value", value)
            for name, value in body.items()
            if name not in QUIET and value is not None and not isinstance(value, Mapping | list | tuple)
        }
        caption = str(found.get("message") or self._operation or type(self).__name__)
        tables = [of_frame(frame, name) for name, frame in self._tables().items() if frame.height]
        return f"<div>{of_pairs(small, caption)}{''.join(tables)}</div>"

    def _found(self, part: str | None) -> tuple[str, pl.DataFrame]:
        tables = self._tables()
        if part is None:
            if tables:
                name, frame = next(iter(tables.items()))
                first = OPERATIONS[self._operation].shown if self._operation in OPERATIONS else ""
                return first if first in name.split(", ") else name, frame
            small = {k: v for k, v in self.model_dump(mode="json").items() if not isinstance(v, Mapping)}
            return "", to_frame(list(small), [list(small.values())])
        for name, frame in tables.items():
            # A table of several parts has each of them as a column.
            if name == part or (part in name.split(", ") and part.rpartition(".")[2] in frame.columns):
                return part, frame
        raise FactorError(f"the answer has no part {part!r}; it has {'; '.join(tables)}", field="part")

    def _tables(self) -> dict[str, pl.DataFrame]:
        found = self.model_dump(mode="json")
        row = OPERATIONS.get(self._operation)
        made: dict[str, pl.DataFrame] = {}
        if row is not None and row.table and row.table[0] in SHAPES:
            made |= _laid_out(found.get("calculation_result") or {}, row)
            if made:
                del found["calculation_result"][row.values]
        tables = [table for table in tables_of(found) if table.parts[0] not in QUIET]
        first = row.shown if row is not None else ""
        tables.sort(key=lambda table: first not in table.parts)  # stable: the others keep their order
        return made | {", ".join(table.parts): to_frame(table.columns, table.rows) for table in tables}


def _laid_out(calculation: Mapping[str, Any], row: Operation) -> dict[str, pl.DataFrame]:
    values = calculation.get(row.values)
    if not isinstance(values, Mapping):
        return {}
    try:
        columns = columns_of(calculation, values, *row.table)
    except KeyError:
        return {}  # the table is of what was not asked for, such as a history
    # Of these shapes all but the first column are numbers; a factor may have no return on any day.
    shape = row.table[0] if row.table else ""
    numbers = [*columns][1:] if shape in ("history", "series", "by_name", "square") else []
    return {VALUES: to_frame(list(columns), list(zip(*columns.values(), strict=True)), numbers)}


def plot_frame(frame: pl.DataFrame, title: str, axes: Axes | None = None, *, column: str = "") -> Picture:
    """Draw a frame by its shape: lines over dates, a heat map of a square of names, else bars by name.

    Raises
    ------
    FactorError
        There is no number in it; without matplotlib, which the extra `report` brings.
    """
    import numpy as np

    from factors.notebook import charts
    from factors.notebook.style import draw

    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    if not numbers or not frame.height:
        raise FactorError(f"{title.rstrip(': ')} has no numbers to draw", field="part")
    labels = next((name for name in frame.columns if name not in numbers), "")
    names = frame[labels].cast(str, strict=False).fill_null("-").to_list() if labels else _rows(frame.height)
    dates = _dates(names)
    if dates is not None:
        series = {name: frame[name].cast(float).to_numpy() for name in numbers[:MOST_LINES]}
        return draw(lambda own: charts.lines(own, np.asarray(dates), series, title=title), axes)
    if names and all(name in frame.columns for name in names) and len(set(names)) == len(names) > 1:
        matrix = frame.select(names).to_numpy().astype(np.float64)
        return draw(lambda own: charts.heat(own, names, matrix, title=title), axes, (7.2, 6.0))
    chosen = column.rpartition(".")[2]
    drawn = chosen if chosen in numbers else numbers[0]
    heading = title if len(numbers) == 1 or drawn in title else f"{title}, {drawn}"
    values = frame[drawn].cast(float).to_numpy()
    return draw(lambda own: charts.bars(own, names, values, title=heading), axes)


def watched_frame(data: Any, part: str | None = None) -> pl.DataFrame:
    """Give a part of a watch's message as a frame: `values` by name, `factor_returns`, or `portfolios`.

    The first of them that is there by default.

    Raises
    ------
    FactorError
        The message has no such part.
    """
    if isinstance(data, bytes):
        return decode(data)
    symbols, values, books = (data.get(name) or {} for name in ("symbols", "values", "portfolios"))
    there: dict[str, tuple[list[str], list[Any]]] = {}
    if values and symbols:
        there["values"] = ["symbol", *values], list(zip(symbols, *values.values(), strict=True))
    if data.get("factor_returns"):
        there["factor_returns"] = ["factor", "return"], list(data["factor_returns"].items())
    if books:
        returns = [(name, None if book is None else book.get("return")) for name, book in books.items()]
        there["portfolios"] = ["portfolio", "return"], returns
    chosen = part or next(iter(there), "values")
    if chosen not in there:
        raise FactorError(f"the message has no {chosen}; it has {', '.join(there) or 'nothing'}", field="part")
    return to_frame(*there[chosen])


def _rows(height: int) -> list[str]:
    return [str(n + 1) for n in range(height)]


def _dates(names: Sequence[str]) -> Any:
    """Read names as dates; None where they are none, or too few for a line."""
    import numpy as np

    if len(names) < 3 or not all(len(name) >= 10 and name[4] == name[7] == "-" for name in names):
        return None
    try:
        return np.array(names, dtype="datetime64[us]")
    except ValueError:
        return None
