"""The catalogue: definitions of factors in TOML files, read and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factors.library.language.conventions import Conventions, conventions
from factors.library.language.errors import CatalogueError, FormulaError
from factors.library.language.syntax import Expression, parse
from factors.notebook.shown import Shown

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

CATEGORIES = (
    "alpha101", "gtja191", "alpha158", "momentum", "reversal", "value", "size", "volatility", "beta", "liquidity",
    "profitability", "growth", "investment", "leverage", "quality", "accruals", "seasonality", "skewness", "technical",
    "trend", "cycle", "composite", "issuance",
)  # fmt: skip
RELATIONS = ("equal", "affine", "rank-identical")
_ID = re.compile(r"[a-z0-9_]+")
_REQUIRED = ("id", "name", "category", "formula", "source", "citation")


@dataclass(frozen=True, slots=True)
class Definition:
    """One factor of the catalogue. Inputs, warm-up and the recursive flag come from the compiled library."""

    id: str
    name: str
    category: str
    formula: str
    source: str
    citation: str
    erratum: str = ""
    delay: int = 1
    neutralisation: str = "none"
    conventions: Conventions = field(default_factory=Conventions)
    version: int = 1
    notes: str = ""
    tags: tuple[str, ...] = ()
    expression: Expression = field(repr=False, kw_only=True)
    definitions: Mapping[str, Expression] = field(default_factory=dict, repr=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a factor: the same ranks on every date."""

    id: str
    alias_of: str
    relation: str
    reason: str
    source: str = ""
    citation: str = ""
    formula: str = ""


def _check(entry: Mapping[str, Any], kind: type, required: tuple[str, ...], file: str, label: str) -> None:
    """Keys and types of one table."""
    known = {f.name for f in fields(kind)}
    for name in required:
        if name not in entry:
            raise CatalogueError(f"{name} is missing", file, label)
    for name, value in entry.items():
        if name not in known or name in ("expression", "definitions"):
            raise CatalogueError(f"unknown key {name!r}", file, label)
        wanted: tuple[type, ...] = {
            "delay": (int,), "version": (int,), "tags": (list,), "conventions": (str, dict),
        }.get(name, (str,))  # fmt: skip
        if not isinstance(value, wanted) or isinstance(value, bool):
            expected = " or ".join(t.__name__ for t in wanted)
            raise CatalogueError(f"{name} is a {type(value).__name__}; expected {expected}", file, label)
        if name in required and value == "":
            raise CatalogueError(f"{name} is empty", file, label)


class Catalogue(Shown):
    """All definitions.

    Attributes
    ----------
    entries : dict of str to Definition
    aliases : dict of str to Alias
    definitions : dict of str to Expression
        Names that formulas may use like fields.
    """

    def __init__(
        self, entries: dict[str, Definition], aliases: dict[str, Alias], definitions: dict[str, Expression]
    ) -> None:
        self.entries, self.aliases, self.definitions = entries, aliases, definitions

    @classmethod
    def load(cls, path: str | Path | None = None) -> Catalogue:
        """Read every `*.toml` of a folder (or one file) in name order; the package's own by default.

        Raises
        ------
        CatalogueError
            For the first thing wrong, with file, entry and, in a formula, line and column.
        """
        source: Traversable = (
            resources.files("factors.library.definitions").joinpath("catalogue") if path is None else Path(path)
        )
        if source.is_file():
            files = [source]
        elif source.is_dir():
            files = sorted((f for f in source.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
        else:
            raise CatalogueError("no such file or folder", str(source))
        tables = []
        for file in files:
            try:
                tables.append((file.name, tomllib.loads(file.read_text(encoding="utf-8"))))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise CatalogueError(str(error), file.name) from None
        return _Reader(tables).catalogue()

    def resolve(self, name: str) -> Definition:
        """Definition of an id or of an alias.

        Raises
        ------
        KeyError
            If there is none.
        """
        return self.entries[self.aliases[name].alias_of if name in self.aliases else name]

    def to_polars(self) -> pl.DataFrame:
        """Give a row for each definition: id, name, category, formula, source, citation."""
        import polars as pl

        columns = ("id", "name", "category", "formula", "source", "citation")
        rows = [tuple(getattr(entry, name) for name in columns) for entry in self.entries.values()]
        return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")

    def _caption(self) -> str:
        return f"{len(self.entries)} definitions, {len(self.aliases)} other names of them"

    def _draw(self, axes: Axes) -> None:
        from factors.notebook.charts import bars

        found = self.categories()
        bars(
            axes, list(found), [float(len(ids)) for ids in found.values()], title="Definitions by category", form=".0f"
        )

    def categories(self) -> dict[str, tuple[str, ...]]:
        """Ids by category, in the order of the files."""
        found: dict[str, list[str]] = {}
        for entry in self.entries.values():
            found.setdefault(entry.category, []).append(entry.id)
        return {name: tuple(ids) for name, ids in found.items()}


class _Reader:
    def __init__(self, tables: list[tuple[str, dict[str, Any]]]) -> None:
        self.tables = tables
        self.definitions: dict[str, Expression] = {}
        self.entries: dict[str, Definition] = {}
        self.aliases: dict[str, Alias] = {}
        self.homes: dict[str, str] = {}

    def catalogue(self) -> Catalogue:
        for file, table in self.tables:
            for key, value in table.items():
                if key not in ("define", "factor", "alias") or not isinstance(value, list):
                    raise CatalogueError(f"unknown table {key!r}; expected [[define]], [[factor]] or [[alias]]", file)
        for file, table in self.tables:
            for number, entry in enumerate(table.get("define", ()), 1):
                self.define(file, str(entry.get("name", f"define {number}")), entry)
        for file, table in self.tables:
            for number, entry in enumerate(table.get("factor", ()), 1):
                self.factor(file, str(entry.get("id", f"factor {number}")), entry)
        for file, table in self.tables:
            for number, entry in enumerate(table.get("alias", ()), 1):
                self.alias(file, str(entry.get("id", f"alias {number}")), entry)
        for alias in self.aliases.values():
            if alias.alias_of not in self.entries:
                raise CatalogueError(f"alias of unknown {alias.alias_of!r}", self.homes[alias.id], alias.id)
        return Catalogue(self.entries, self.aliases, self.definitions)

    def formula(self, file: str, label: str, text: str, settings: Conventions) -> Expression:
        try:
            return parse(text, settings, definitions=self.definitions)
        except FormulaError as error:
            tail = f"; expected {', '.join(error.expected)}" if error.expected else ""
            raise CatalogueError(error.message + tail, file, label, error.position) from None

    def define(self, file: str, label: str, entry: Mapping[str, Any]) -> None:
        unknown = set(entry) - {"name", "formula", "notes", "conventions"}
        if unknown or "name" not in entry or "formula" not in entry:
            raise CatalogueError("expected name, formula and optionally notes, conventions", file, label)
        if label in self.definitions or not _ID.fullmatch(label):
            raise CatalogueError(f"name {label!r} is taken or not of the form [a-z0-9_]+", file, label)
        self.definitions[label] = self.formula(file, label, str(entry["formula"]), self.settings(file, label, entry))

    def settings(self, file: str, label: str, entry: Mapping[str, Any]) -> Conventions:
        try:
            return conventions(entry.get("conventions", "paper"))
        except ValueError as error:
            raise CatalogueError(str(error), file, label) from None

    def claim(self, file: str, label: str) -> None:
        if not _ID.fullmatch(label):
            raise CatalogueError("id is not of the form [a-z0-9_]+", file, label)
        if label in self.homes:
            raise CatalogueError(f"id is already used in {self.homes[label]}", file, label)
        self.homes[label] = file

    def factor(self, file: str, label: str, entry: Mapping[str, Any]) -> None:
        _check(entry, Definition, _REQUIRED, file, label)
        self.claim(file, label)
        if entry["category"] not in CATEGORIES:
            raise CatalogueError(
                f"category {entry['category']!r}; expected one of {', '.join(CATEGORIES)}", file, label
            )
        if entry.get("delay", 1) not in (0, 1):
            raise CatalogueError(f"delay is {entry['delay']}; expected 0 or 1", file, label)
        settings = self.settings(file, label, entry)
        expression = self.formula(file, label, entry["formula"], settings)
        values = {k: v for k, v in entry.items() if k not in ("conventions", "tags")}
        self.entries[label] = Definition(
            **values, conventions=settings, tags=tuple(entry.get("tags", ())), expression=expression,
            definitions=self.definitions,
        )  # fmt: skip

    def alias(self, file: str, label: str, entry: Mapping[str, Any]) -> None:
        _check(entry, Alias, ("id", "alias_of", "relation", "reason"), file, label)
        self.claim(file, label)
        if entry["relation"] not in RELATIONS:
            raise CatalogueError(f"relation {entry['relation']!r}; expected one of {', '.join(RELATIONS)}", file, label)
        if entry.get("formula"):
            self.formula(file, label, entry["formula"], conventions("paper"))
        self.aliases[label] = Alias(**entry)
