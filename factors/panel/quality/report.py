"""The quality report: findings by kind, each with its rows, effect and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from factors.errors import FactorError
from factors.notebook.shown import Shown
from factors.panel.quality.kinds import KINDS, SEVERITIES

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

MAX_ROWS = 1000
"""Rows kept of a finding; `n_rows` counts all."""
ROWS_IN_A_LINE = 3
NOTE_LENGTH = 200

Severity = Literal["error", "warning", "info"]
Row = tuple[str | None, str | None]


class QualityError(FactorError):
    """A table with findings that are errors, under the policy "strict"."""

    code = "data_quality"


@dataclass(frozen=True)
class Finding:
    """One kind of thing that looks wrong, and where.

    Attributes
    ----------
    kind : str
        One of `kinds.KINDS`.
    rows : tuple of (date, symbol)
        Ascending; None for a date or symbol that the finding is not about. At most `MAX_ROWS`.
    n_rows : int
        All of them.
    field : str or None
        The column.
    note : str
        What was seen, in words, where the kind alone does not say it.
    """

    kind: str
    rows: tuple[Row, ...] = ()
    n_rows: int = 0
    field: str | None = None
    note: str = ""

    @classmethod
    def of(
        cls,
        kind: str,
        rows: Iterable[tuple[Any, Any]],
        *,
        field: str | None = None,
        note: str = "",
        n_rows: int | None = None,
    ) -> Finding:
        """Make a finding of its rows; `n_rows` where more of them were counted."""
        named = sorted(
            ((None if date is None else str(date), None if name is None else str(name)) for date, name in rows),
            key=lambda row: (row[0] or "", row[1] or ""),
        )
        return cls(kind, tuple(named[:MAX_ROWS]), len(named) if n_rows is None else n_rows, field, note)

    @property
    def severity(self) -> Severity:
        """Error, warning or info."""
        return KINDS[self.kind].severity

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names, in order of their first row."""
        return tuple(dict.fromkeys(symbol for _, symbol in self.rows if symbol is not None))

    @property
    def dates(self) -> tuple[str, ...]:
        """The dates, ascending."""
        return tuple(dict.fromkeys(date for date, _ in self.rows if date is not None))

    @property
    def line(self) -> str:
        """The finding in a line."""
        shown = ", ".join(" ".join(part for part in row if part) for row in self.rows[:ROWS_IN_A_LINE])
        more = f" and {self.n_rows - ROWS_IN_A_LINE} more" if self.n_rows > ROWS_IN_A_LINE else ""
        of = f" of '{self.field}'" if self.field else ""
        note = f" ({self.note})" if self.note else ""
        where = f": {shown}{more}" if shown else ""
        return f"{KINDS[self.kind].title}{of}{note}{where}"

    def to_dict(self) -> dict[str, Any]:
        """Give JSON-able values, the kind's effect and remedy among them."""
        kind = KINDS[self.kind]
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": kind.title,
            "line": self.line,
            "field": self.field,
            "note": self.note,
            "n_rows": self.n_rows,
            "names": list(self.symbols),
            "dates": list(self.dates),
            "rows": [list(row) for row in self.rows],
            "effect": kind.effect,
            "remedy": kind.remedy,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Read what `to_dict` gave."""
        rows = tuple((row[0], row[1]) for row in values["rows"])
        return cls(values["kind"], rows, values["n_rows"], values["field"], values["note"])


def joined(before: Iterable[Finding], more: Iterable[Finding]) -> tuple[Finding, ...]:
    """Join what was found in the next days to what was found before: of one kind and column there is one."""
    found = {(one.kind, one.field): one for one in before}
    for one in more:
        key = (one.kind, one.field)
        had = found.get(key)
        if had is None:
            found[key] = one
            continue
        rows = {*had.rows, *one.rows}
        told = len(had.rows) + len(one.rows) - len(rows)
        words = [*filter(None, [*had.note.split("; "), *one.note.split("; ")])]
        note = "; ".join(sorted(dict.fromkeys(words)))[:NOTE_LENGTH]
        found[key] = Finding.of(one.kind, rows, field=one.field, note=note, n_rows=had.n_rows + one.n_rows - told)
    return tuple(found.values())


def not_told(now: Iterable[Finding], before: Iterable[Finding]) -> tuple[Finding, ...]:
    """Give what `joined` with the findings of earlier days makes these findings of."""
    told = {(one.kind, one.field): one for one in before}
    out = []
    for one in now:
        had = told.get((one.kind, one.field), Finding(one.kind))
        if one.n_rows > had.n_rows:
            rows = set(had.rows)
            new = tuple(row for row in one.rows if row not in rows)
            out.append(replace(one, rows=new, n_rows=one.n_rows - had.n_rows))
    return tuple(out)


@dataclass(frozen=True)
class QualityReport(Shown):
    """What was looked for in a panel, and what was found.

    Attributes
    ----------
    findings : tuple of Finding
        Errors first; of one kind and column there is one.
    first_date, last_date : str
        The dates that were looked at.
    """

    findings: tuple[Finding, ...] = ()
    first_date: str = ""
    last_date: str = ""

    @classmethod
    def of(cls, findings: Iterable[Finding], first_date: Any, last_date: Any) -> QualityReport:
        """Order findings by severity and kind."""
        order = {name: place for place, name in enumerate(SEVERITIES)}
        found = sorted(
            (finding for finding in findings if finding.n_rows),
            key=lambda finding: (order[finding.severity], finding.kind, finding.field or ""),
        )
        return cls(tuple(found), str(first_date), str(last_date))

    @property
    def lines(self) -> list[str]:
        """A line for each finding, with its severity in front."""
        return [f"{finding.severity}: {finding.line}" for finding in self.findings]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop a table under the policy "strict"."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each finding: severity, kind, field, n_rows, the line, its effect and the remedy."""
        import polars as pl

        names = ("severity", "kind", "field", "n_rows", "line", "effect", "remedy")
        schema = {name: pl.Int64 if name == "n_rows" else pl.String for name in names}
        found = [finding.to_dict() for finding in self.findings]
        return pl.DataFrame([[one[name] for name in names] for one in found], schema=schema, orient="row")

    def _caption(self) -> str:
        kinds = f"{len(self.findings)} kinds of things look wrong" if self.findings else "nothing looks wrong"
        return f"{self.first_date} to {self.last_date}: {kinds}"

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        labels = [f"{one.severity}: {one.kind}{f' of {one.field}' if one.field else ''}" for one in self.findings]
        bars(axes, labels, [float(one.n_rows) for one in self.findings], title="Rows that look wrong", form=",.0f")

    def refuse_errors(self) -> None:
        """Raise the first finding that is an error.

        Raises
        ------
        QualityError
            Names the kind, the column, the rows and what to do.
        """
        if self.errors:
            first = self.errors[0]
            others = f"; {len(self.errors) - 1} more kinds of errors" if len(self.errors) > 1 else ""
            raise QualityError(
                f"{first.line}. {KINDS[first.kind].effect}. {KINDS[first.kind].remedy}{others}",
                field=first.field,
                rows=first.rows,
                n_rows=first.n_rows,
            )

    def to_dict(self) -> dict[str, Any]:
        """Give JSON-able values."""
        return {
            "first_date": self.first_date,
            "last_date": self.last_date,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QualityReport:
        """Read what `to_dict` gave."""
        found = tuple(Finding.from_dict(one) for one in values.get("findings", ()))
        return cls(found, values.get("first_date", ""), values.get("last_date", ""))
