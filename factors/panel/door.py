"""The door of a model: every panel and every day that comes in is adjusted for corporate actions and looked at."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.panel.actions import ACTIONS, Adjustment, adjusted, over_splits
from factors.panel.intake import Intake, Policy
from factors.panel.panel import Panel
from factors.panel.quality.report import Finding, QualityReport
from factors.panel.quality.watch import Watch

Arrays = dict[str, NDArray[Any]]


class Door:
    """What has come in so far, as far as the next day needs it, and what looked wrong in it.

    Parameters
    ----------
    intake : Intake
    """

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._adjustment = Adjustment()
        self._watch = Watch()
        self._read: tuple[Finding, ...] = ()

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
        after._read = (*self._read, *panel.findings)
        panel, after._adjustment = adjusted(panel, self._adjustment, self.intake.adjust)
        if policy == "off":
            after._watch = self._watch
            return panel, after
        after._watch = self._watch.after(panel.dates, panel.fields, panel.n_assets, strict=policy == "strict")
        if policy == "strict":
            after._watch.refuse_new_errors(panel.symbols)
        if self.intake.adjust in ("actions", "splits") and not any(name in panel.fields for name in ACTIONS):
            panel, after._adjustment = over_splits(panel, after._adjustment, after._watch.unseen_splits)
        return panel, after

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
        return bool((before.shares == 1.0).all() and (before.price == 1.0).all())

    def lines(self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Give a line for each thing that looked wrong, mere information left out."""
        read = [f"{finding.severity}: {finding.line}" for finding in self._read if finding.severity != "info"]
        return read + (self._watch.lines(symbols, labels) if self.intake.policy != "off" else [])

    def report(self, symbols: tuple[str, ...], labels: Mapping[str, tuple[str, ...]]) -> QualityReport:
        """Give everything that was found."""
        return self._watch.report(symbols, labels, self._read)

    def state(self) -> Arrays:
        """Give everything as arrays."""
        read = json.dumps([finding.to_dict() for finding in self._read]).encode()
        state: Arrays = {f"door/watch/{name}": values for name, values in self._watch.state().items()}
        state |= {f"door/adjustment/{name}": values for name, values in self._adjustment.state().items()}
        return state | {"door/read": np.frombuffer(read, dtype=np.uint8)}

    @classmethod
    def restored(cls, intake: Intake, state: Mapping[str, NDArray[Any]]) -> Door:
        """Take up what `state` gave, among other arrays; without it, a door that nothing came through yet."""
        door = cls(intake)
        if "door/read" not in state:
            return door
        watch, adjustment = (
            {name.removeprefix(group): values for name, values in state.items() if name.startswith(group)}
            for group in ("door/watch/", "door/adjustment/")
        )
        door._watch = Watch.restored(watch)
        door._adjustment = Adjustment.restored(adjustment)
        door._read = tuple(Finding.from_dict(one) for one in json.loads(bytes(np.asarray(state["door/read"]))))
        return door
