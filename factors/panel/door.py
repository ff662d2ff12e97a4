"""The door of a model: every panel and every day that comes in is adjusted for corporate actions and looked at."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.panel.actions import ACTIONS, MADE, RAW, Adjustment, adjusted, not_over_splits, over_splits
from factors.panel.admission import admitted
from factors.panel.axis import positions
from factors.panel.corrections import as_given
from factors.panel.identity import called_next, ids_of, renamed
from factors.panel.intake import Intake, Policy
from factors.panel.meaning import ID
from factors.panel.panel import Panel
from factors.panel.quality.report import Finding, QualityReport, joined, not_told
from factors.panel.quality.watch import Watch
from factors.panel.splits import NO_SPLITS, CarriedSplits
from factors.panel.statements import Statements, counted

Arrays = dict[str, NDArray[Any]]


def as_released(panel: Panel, intake: Intake) -> Panel:
    """Give a whole table's panel with its items of statements in force from their releases on."""
    return counted(panel, Statements(), intake.fundamentals_max_age_days).panel


def _with_former(had: dict[str, tuple[int, ...]], panel: Panel) -> dict[str, tuple[int, ...]]:
    place, out = positions(panel.symbols), dict(had)
    for before, now in panel.former:
        if now in place and place[now] not in out.get(before, ()):
            out[before] = (*out.get(before, ()), place[now])
    return out


def _findings(written: NDArray[Any]) -> tuple[Finding, ...]:
    return tuple(Finding.from_dict(one) for one in json.loads(bytes(np.asarray(written))))


class Door:
    """What has come in so far, as far as the next day needs it, and what looked wrong in it.

    Parameters
    ----------
    intake : Intake
    """

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._adjustment = Adjustment()
        self._splits = CarriedSplits()
        self._statements = Statements()
        self.ids: tuple[str, ...] = ()
        """The `asset_id` of each name, as far as one is known."""
        self._watch = Watch()
        self._had: dict[str, tuple[int, ...]] = {}
        """Symbols of before: the places of the names that had them."""
        self._read: tuple[Finding, ...] = ()
        """What was found when the tables were read."""
        self._lapsed: tuple[Finding, ...] = ()
        """Statements that became too old while they were in force."""
        self._made: tuple[str, ...] | None = None
        """Fields that the tables do not have; None where that is not known."""

    def take(self, panel: Panel, policy: Policy | None = None) -> tuple[Panel, Door]:
        """Let the next days in; give them as the model wants them, and the door after them.

        Parameters
        ----------
        panel : Panel
            Names that are new stand at the end of its asset axis.
        policy : "strict", "warn" or "off", optional
            Of these days; default: the intake's.

        Raises
        ------
        QualityError
            Under the policy "strict", an error in these days.
        """
        policy = policy or self.intake.policy
        after = Door(self.intake)
        after._read = joined(self._read, panel.findings)
        after._had = _with_former(self._had, panel) if panel.former else self._had
        after.ids = ids_of(panel, self.ids) if self.ids or ID in panel.categories else ()
        panel, after._statements, lapsed = counted(panel, self._statements, self.intake.fundamentals_max_age_days)
        after._lapsed = joined(self._lapsed, lapsed)
        given = panel.fields.keys()
        panel, after._adjustment = adjusted(panel, self._adjustment, self.intake.adjust)
        after._made = self._made
        if not len(self._adjustment.price) and RAW["close"] not in given:  # the first days, as they came
            after._made = tuple(name for name in MADE if name in panel.fields and name not in given)
        after._splits = self._splits
        inferred = self.intake.adjust in ("actions", "splits") and not any(name in panel.fields for name in ACTIONS)
        if policy == "off":
            after._watch = self._watch
            if inferred:  # none is looked for, but days stay in the units of those before them
                panel, after._adjustment = over_splits(panel, after._adjustment, NO_SPLITS)
            return panel, after
        after._watch = self._watch.after(panel.dates, panel.fields, panel.n_assets, strict=policy == "strict")
        if policy == "strict":
            after._watch.refuse_new_errors(panel.symbols)
        if inferred:
            after._splits = self._splits.after(panel.dates, after._watch.unseen_splits)
            panel, after._adjustment = over_splits(panel, after._adjustment, after._watch.unseen_splits)
        return panel, after

    def as_it_came(self, panel: Panel, before: Door | None = None) -> Panel:
        """Give days that came in through the doors up to this one as they were before, with what was told of them.

        `before` is the door that they come in through again, where some days stay behind it.
        """
        told = not_told(self._read, before._read) if before else self._read  # noqa: SLF001 - the same class
        return replace(as_given(self.unsplit(panel), self._made), findings=told, former=self.former(panel.symbols))

    def former(self, symbols: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Give symbols that the names had before, each with what the name is called."""
        return tuple((had, symbols[place]) for had, places in self._had.items() for place in places)

    def unsplit(self, panel: Panel) -> Panel:
        """Give such days in the shares and prices that they were traded in, where only their shares told of splits."""
        return not_over_splits(panel, self._splits)

    def take_next(
        self, days: Panel, symbols: tuple[str, ...], policy: Policy | None = None
    ) -> tuple[Panel, tuple[str, ...], Door]:
        """Let days on names of their own into a model; give them on its names, what these are called now, and the door.

        Raises
        ------
        FactorError
            What `admitted`, `called_next` and `take` refuse.
        """
        names = called_next(days, symbols, self.ids)
        panel, after = self.take(admitted(renamed(days, symbols, names), names).on_axis(names), policy)
        return panel, names, after

    def refuse_errors_since(self, date: Any, panel: Panel) -> None:
        """Look at the next days and raise the first error of those from a date on; the door stays as it is.

        Raises
        ------
        QualityError
            However many errors of its kind lie before the date.
        """
        at, door = int(np.searchsorted(panel.dates, np.datetime64(date))), self
        if at:
            _, door = door.take(panel.select(dates=slice(0, at)), "warn")
        if at < panel.n_dates:
            door.take(panel.select(dates=slice(at, None)), "strict")

    def passes(self, fields: Collection[str]) -> bool:
        """Say whether days of these fields go through as they are, as long as their shares do not jump."""
        if self.intake.adjust == "from_returns" or any(name in fields for name in ACTIONS):
            return False
        before = self._adjustment
        if self._statements.items:
            return False
        return bool((before.shares == 1.0).all() and (before.price == 1.0).all())

    def lines(self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Give a line for each thing that looked wrong, mere information left out."""
        read = [f"{finding.severity}: {finding.line}" for finding in self._read if finding.severity != "info"]
        return read + (self._watch.lines(symbols, labels) if self.intake.policy != "off" else [])

    def report(self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]]) -> QualityReport:
        """Give everything that was found."""
        return self._watch.report(symbols, labels, joined(self._read, self._lapsed))

    def state(self) -> Arrays:
        """Give everything as arrays."""
        read = json.dumps([finding.to_dict() for finding in self._read]).encode()
        state: Arrays = {f"door/watch/{name}": values for name, values in self._watch.state().items()}
        state |= {f"door/adjustment/{name}": values for name, values in self._adjustment.state().items()}
        state |= {f"door/splits/{name}": values for name, values in self._splits.state().items()}
        state |= {f"door/statements/{name}": values for name, values in self._statements.state().items()}
        lapsed = json.dumps([finding.to_dict() for finding in self._lapsed]).encode()
        state["door/lapsed"] = np.frombuffer(lapsed, dtype=np.uint8)
        state["door/had"] = np.frombuffer(json.dumps(self._had).encode(), dtype=np.uint8)
        state["door/made"] = np.frombuffer(json.dumps(self._made).encode(), dtype=np.uint8)
        state["door/ids"] = np.frombuffer(json.dumps(self.ids).encode(), dtype=np.uint8)
        return state | {"door/read": np.frombuffer(read, dtype=np.uint8)}

    @classmethod
    def restored(cls, intake: Intake, state: Mapping[str, NDArray[Any]]) -> Door:
        """Take up what `state` gave, among other arrays; without it, a door that nothing came through yet."""
        door = cls(intake)
        if "door/read" not in state:
            return door
        watch, adjustment, splits, statements = (
            {name.removeprefix(group): values for name, values in state.items() if name.startswith(group)}
            for group in ("door/watch/", "door/adjustment/", "door/splits/", "door/statements/")
        )
        door._watch = Watch.restored(watch)
        if "door/ids" in state:
            door.ids = tuple(json.loads(bytes(np.asarray(state["door/ids"]))))
        if "door/had" in state:
            door._had = {had: tuple(at) for had, at in json.loads(bytes(np.asarray(state["door/had"]))).items()}
        if "door/made" in state:
            made = json.loads(bytes(np.asarray(state["door/made"])))
            door._made = None if made is None else tuple(made)
        door._adjustment = Adjustment.restored(adjustment)
        door._splits = CarriedSplits.restored(splits)
        door._statements = Statements.restored(statements)
        door._read = _findings(state["door/read"])
        door._lapsed = _findings(state["door/lapsed"]) if "door/lapsed" in state else ()
        return door
