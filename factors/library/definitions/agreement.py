"""How each factor agrees with other people's implementations: the record, checked by the oracle tests.

One file an oracle, `factors/library/definitions/agreements/*.toml`:

    [oracle]
    id = "alpha101v"
    title = "alpha101v 0.1.9 with its switches set to the paper"
    conventions = "paper"            # ours, under which `equal` holds

    equal = ["alpha101_002", ...]    # inside [oracle]; same values and same gaps under those conventions
    not_real = ["barra_mlev", ...]   # inside [oracle]; not compared on real data, which lacks their fields

    [[agreement]]                    # the others
    factor = "alpha101_007"
    verdict = "convention"           # equal under other conventions
    conventions = { base = "paper", adv = "dollar" }
    reason = "..."

    [[agreement]]
    factor = "alpha101_036"
    verdict = "different"
    formula = '''...'''              # what the other computes, in our language; without one only the reason stands
    conventions = "kunquant"
    share = 0.99                     # least share of equal cells, where rounding breaks ties
    missing = "ours"                 # compare our defined cells only; default "equal": the same cells are missing
    reason = "..."

    [gaps]                           # least share where names list late, leave and pause, where it is not `share`
    alpha101_007 = 0.98

    [real]                           # the same on real data
    alpha101_007 = 0.95
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from factors.library.language.errors import LibraryError

VERDICTS = ("equal", "convention", "different")
PANELS = ("gaps", "real")


@dataclass(frozen=True)
class Agreement:
    """One factor against one oracle.

    Attributes
    ----------
    factor : str
        Id of a factor or alias.
    oracle : str
    verdict : {"equal", "convention", "different"}
    conventions : str or mapping
        Ours, under which the values are equal.
    formula : str
        What the oracle computes, where that is not the factor's text.
    share : float
        Least share of cells that are equal, on a market of random walks without gaps.
    gaps, real : float or None
        The same where names list late, leave and pause, and on real data (481 US large caps, 2014-2018).
    missing : {"equal", "ours"}
        Whether the same cells must be missing, or only our defined cells are compared.
    reason : str
    on_real_data : bool
        Whether real data has the factor's fields, so that it was compared there, too.
    """

    factor: str
    oracle: str
    verdict: str
    conventions: str | Mapping[str, Any] = "paper"
    formula: str = ""
    share: float = 1.0
    missing: str = "equal"
    reason: str = ""
    gaps: float | None = None
    real: float | None = None
    on_real_data: bool = True

    def on(self, panel: str) -> float:
        """Give the least share of equal cells on the panel with "gaps" or of "real" data."""
        found: dict[str, float | None] = {"gaps": self.gaps, "real": self.real}
        share = found[panel]
        return self.share if share is None else share


@dataclass(frozen=True)
class Oracle:
    """Another implementation and what it was compared on."""

    id: str
    title: str
    conventions: str | Mapping[str, Any]
    agreements: tuple[Agreement, ...]


@cache
def oracles() -> Mapping[str, Oracle]:
    """Read every oracle's record, by id.

    Raises
    ------
    LibraryError
        A malformed record, with the file and the factor.
    """
    folder = resources.files("factors.library.definitions").joinpath("agreements")
    files = sorted((path for path in folder.iterdir() if path.name.endswith(".toml")), key=lambda path: path.name)
    found = [_read(path) for path in files]
    return {oracle.id: oracle for oracle in found}


def _read(path: Traversable) -> Oracle:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        head = data["oracle"]
        common = head.get("conventions", "paper")
        rows = [Agreement(factor, head["id"], "equal", common) for factor in head.get("equal", ())]
        defaults = {"oracle": head["id"], "conventions": common}
        rows += [Agreement(**{**defaults, **entry}) for entry in data.get("agreement", ())]
        lacking = set(head.get("not_real", ()))
        rows = [replace(row, on_real_data=row.factor not in lacking) for row in rows]
        measured = {panel: data.get(panel, {}) for panel in PANELS}
        rows = [replace(row, **{panel: shares.get(row.factor) for panel, shares in measured.items()}) for row in rows]
        oracle = Oracle(head["id"], head["title"], common, tuple(rows))
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise LibraryError(f"{path.name}: {error}") from error
    names = [row.factor for row in oracle.agreements]
    unknown = sorted({factor for shares in measured.values() for factor in shares} - set(names))
    if unknown:
        raise LibraryError(f"{path.name}: a share of {unknown[0]}, of which nothing is recorded")
    if lacking - set(names):
        raise LibraryError(f"{path.name}: not_real has {min(lacking - set(names))}, of which nothing is recorded")
    for row in oracle.agreements:
        if row.verdict not in VERDICTS:
            raise LibraryError(f"{path.name}: {row.factor}: verdict {row.verdict!r}; expected {', '.join(VERDICTS)}")
        if row.verdict != "equal" and not row.reason:
            raise LibraryError(f"{path.name}: {row.factor}: {row.verdict} without a reason")
        if names.count(row.factor) > 1:
            raise LibraryError(f"{path.name}: {row.factor} stands twice")
    return oracle
