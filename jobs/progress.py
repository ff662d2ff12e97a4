"""How far a job is: a bar for people, a file for the runner, events for peers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from contracts.files import replacing
from contracts.settings import settings
from jobs.parts import Results, Slot
from jobs.told import progress_path, submission_id
from jobs.work import Work

LOOK_EVERY_S = 0.5
TOLD_EVERY_S = 1.0
LINE_EVERY_S = 5.0
WIDTH = 28


class Progress:
    """Counts the parts that are made, whoever made them."""

    def __init__(self) -> None:
        self._tell: Callable[[dict[str, Any]], None] | None = None
        self._work: Work | None = None
        self._slots: list[Slot] = []
        self._results: Results | None = None
        self._made: dict[Slot, dict[str, Any]] = {}
        self._before = 0
        self._began = time.time()
        self._looked_at = self._told_at = self._line_at = 0.0
        self._started = time.monotonic()
        self._stage = "starting"
        self._state, self._message = "running", ""
        self._table: dict[str, Any] = {}
        self.chains: dict[str, float] = {}
        self._terminal = sys.stdout.isatty()

    def tell_to(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Have somebody get what is told: each second, and at each change of the stage."""
        self._tell = tell

    def of(self, work: Work) -> None:
        """Say what is to be done."""
        self._work = work
        self.say(f"job {work.job_id}")

    def begin(self, slots: Sequence[Slot], results: Results) -> None:
        """Take up the parts that are to be there."""
        self._slots, self._results = list(slots), results
        self._made = results.notes(slots)
        self._before = len(self._made)
        self._started = time.monotonic()
        if self._before:
            self.say(f"{self._before} of {len(slots)} parts are there already")
        self.stage("computing")

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage = name
        self._out(force=True)

    def look(self, *, force: bool = False) -> None:
        """Count what is made by now, and tell it when it is time; each missing part costs a look at a file."""
        now = time.monotonic()
        if not force and now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        if self._results is not None:
            missing = [slot for slot in self._slots if slot not in self._made]
            self._made |= self._results.notes(missing, fresh=force)
        self._out()

    def say(self, line: str) -> None:
        """Print a line beside the bar."""
        if self._terminal:
            sys.stdout.write("\r\x1b[K")
        print(line, flush=True)  # what the job prints is its log

    def told(self) -> dict[str, Any]:
        """Give all of it."""
        n, made = len(self._slots), len(self._made)
        new = made - self._before
        seconds = time.monotonic() - self._started if self._slots else 0.0
        rows = sum(note["rows"] for note in self._made.values())
        fresh = rows * (new / made) if made else 0.0
        work = self._work
        return {
            "job_id": work.job_id if work else None,
            "submission_id": submission_id(),
            "model_id": work.model_id if work else None,
            "what": list(work.wanted) if work else [],
            "state": self._state,
            "stage": self._stage,
            "message": self._message,
            "percent": round(100.0 * made / n, 1) if n else 0.0,
            "parts_made": made,
            "parts": n,
            "parts_found": self._before,
            "rows": rows,
            "rows_per_s": round(fresh / seconds, 1) if seconds > 0.5 and new else None,
            "eta_s": round(seconds / new * (n - made), 1) if new and self._state == "running" else None,
            "started_at": self._began,
            "at": time.time(),
            "pid": os.getpid(),
            "out": self._results.name if self._results is not None else None,
            "table": self._table,
        }

    def done(self, parts: Sequence[dict[str, Any]]) -> None:
        """Tell that all is committed, with a table of it."""
        rows: dict[str, dict[str, Any]] = {}
        for part in parts:
            row = rows.setdefault(part["what"], {"parts": 0, "rows": 0, "bytes": 0, "nulls": 0, "seconds": 0.0})
            row["parts"] += 1
            row["nulls"] += sum(part["nulls"].values())
            for name in ("rows", "bytes"):
                row[name] += part[name]
            row["seconds"] = round(row["seconds"] + part["seconds"], 3)
        for name, seconds in self.chains.items():
            if name in rows:
                rows[name]["seconds"] = round(seconds, 3)
        self._table = rows
        place = self._results.name if self._results is not None else None
        self._state, self._stage, self._message = "done", "done", f"manifest in {place}"
        self._out(force=True)
        if self._terminal:
            print(flush=True)
        for line in _table(rows):
            self.say(line)
        self.say(self._message)

    def failed(self, why: str) -> None:
        """Tell that the job ends without a result."""
        self._state, self._message = "failed", why
        self._out(force=True)
        print(f"recompute: {why}", file=sys.stderr, flush=True)

    def _out(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = now
        told = self.told()
        if self._work is not None:
            self._write(told)
        if self._tell is not None:
            self._tell(told)
        if self._slots and (self._terminal or force or now - self._line_at > LINE_EVERY_S):
            self._line_at = now
            sys.stdout.write(f"\r\x1b[K{bar(told)}" if self._terminal else f"{bar(told)}\n")
            sys.stdout.flush()

    def _write(self, told: dict[str, Any]) -> None:
        path = progress_path(settings().store_path, told["job_id"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as out:
                out.write(orjson.dumps(told))
        except OSError as error:
            self.say(f"how far it is cannot be written: {error}")


def bar(told: dict[str, Any]) -> str:
    """Write how far a job is as one line."""
    full = int(WIDTH * told["percent"] / 100.0)
    rate = f", {told['rows_per_s']:,.0f} rows/s" if told["rows_per_s"] else ""
    left = f", {told['eta_s']:.0f} s left" if told["eta_s"] is not None else ""
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {told['percent']:5.1f} % {told['stage']}{rate}{left}"


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"{'what':<14}{'parts':>7}{'rows':>12}{'nulls':>14}{'MB':>10}{'seconds':>10}"]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["seconds"]):
        figures = f"{row['parts']:>7}{row['rows']:>12,}{row['nulls']:>14,}{row['bytes'] / 1e6:>10.1f}"
        lines.append(f"{name:<14}{figures}{row['seconds']:>10.2f}")
    return lines
