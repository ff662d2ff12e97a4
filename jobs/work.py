"""What a recompute is to do, by which it is named: the same work has the same id, whoever submits it and how often."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from contracts.errors import InvalidInput
from contracts.settings import checked_store

KIND = "recompute"
WHAT = ("scores", "returns", "covariance", "specific", "library", "attribution")
"""What can be recomputed, in the order in which it is made."""


@dataclass(frozen=True)
class Work:
    """One recompute.

    Parameters
    ----------
    model_id
        A model of the store: its settings and recipe, and its data where `data` names none.
    start, end
        First and last day whose results are wanted, ISO dates; None: from the first, to the last.
    what
        Members of `WHAT`.
    factors
        Ids of the library; empty: all that the data can compute.
    data
        A Parquet file, a folder of them, a csv, or a Delta or Iceberg table, instead of the model's data.
    out
        The folder, or the prefix of a bucket, that gets the parts and the manifest; None: below the store.
    settings
        Settings that replace the model's own, nested as they are.
    """

    model_id: str
    start: str | None = None
    end: str | None = None
    what: tuple[str, ...] = WHAT
    factors: tuple[str, ...] = ()
    data: str | None = None
    out: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be seen without looking at data."""
        unknown = [name for name in self.what if name not in WHAT]
        if unknown or not self.what:
            raise InvalidInput(f"there is {', '.join(WHAT)}, not {', '.join(unknown) or 'nothing'}", field="what")
        for name in ("start", "end"):
            text = getattr(self, name)
            if text is not None:
                try:
                    dt.date.fromisoformat(text)
                except ValueError:
                    raise InvalidInput(f"{text!r} is no date like 2024-01-31", field=name) from None
        if self.start and self.end and self.start > self.end:
            raise InvalidInput(f"the period ends on {self.end}, before it starts on {self.start}", field="end")
        if self.out is not None and self.in_objects:
            try:
                checked_store(self.out)
            except ValueError as error:
                raise InvalidInput(f"results cannot be put to {self.out}: {error}", field="out") from None
        if self.data is not None and "attribution" in self.what and self.what != WHAT:
            raise InvalidInput("attribution needs the books of a store: leave --data or attribution out", field="what")

    @property
    def wanted(self) -> tuple[str, ...]:
        """What is made, in the order of `WHAT`; attribution only where there are books."""
        return tuple(name for name in WHAT if name in self.what and not (self.data and name == "attribution"))

    @property
    def job_id(self) -> str:
        """Name the work by its content."""
        text = orjson.dumps({**asdict(self), "what": self.wanted}, option=orjson.OPT_SORT_KEYS)
        return f"{KIND}-{self.model_id}-{hashlib.blake2b(text, digest_size=6).hexdigest()}"

    @property
    def said(self) -> str:
        """Name the work wherever its results go: a place may be written in several ways."""
        return replace(self, out=None).job_id

    @property
    def in_objects(self) -> bool:
        """Whether the results go to an object store."""
        return self.out is not None and "://" in self.out and not self.out.startswith("file://")

    def folder(self, store: Path) -> Path:
        """Give the folder of the results; of results that go to an object store, this node's for what is on its way."""
        if self.out is None or self.in_objects:
            return store / "recomputed" / self.job_id
        return Path(self.out.removeprefix("file://")).resolve()

    def arguments(self) -> list[str]:
        """Give the words behind ``python -m jobs.recompute`` that mean this work."""
        words = ["--model", self.model_id, "--what", ",".join(self.wanted)]
        for name in ("start", "end", "data", "out"):
            value = getattr(self, name)
            words += [f"--{name}", value] if value is not None else []
        words += ["--factors", ",".join(self.factors)] if self.factors else []
        return words + (["--settings", orjson.dumps(self.settings).decode()] if self.settings else [])
