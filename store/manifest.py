"""A manifest: one version of a model, as names of immutable parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson

from store.checkpoints import Checkpoint
from store.parts import Layouts, Part

FORMAT = 2
REQUESTS_REMEMBERED = 256


@dataclass(frozen=True)
class Block:
    """A run of days over the names that were known by its end.

    The part may have more days behind them: those that a correction replaced.
    """

    first_date: str
    last_date: str
    n_dates: int
    n_assets: int
    part: Part


@dataclass(frozen=True)
class Manifest:
    """One version.

    Parameters
    ----------
    version
        Counts up by one for as long as the model id exists, deletions included.
    request_id
        The request that made it.
    since
        The version that last replaced the history: versions from it on differ by days added at the end only.
    requests
        The last requests and the versions they made, so that a repeated request is recognised.
    fingerprints
        What those of them said that told it, so that another request under the same id is not taken for a repeat.
    blocks
        The days, oldest first. Each block's symbols begin with those of the block before it.
    latest
        The arrays that each version replaces: covariance, specific variance, the last exposures.
    meta
        JSON-able: settings, recipe, factor names, category names, operation's summary.
    checkpoints
        What the model carried after some of its days, ascending.
    """

    model_id: str
    version: int
    request_id: str
    operation: str
    created_at: str
    blocks: tuple[Block, ...] = ()
    latest: Part | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    requests: Mapping[str, int] = field(default_factory=dict)
    deleted: bool = False
    since: int = 0
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()

    @cached_property
    def n_dates(self) -> int:
        """Days in this version."""
        return sum(block.n_dates for block in self.blocks)

    @property
    def n_assets(self) -> int:
        """Names in this version."""
        return self.blocks[-1].n_assets if self.blocks else 0

    @property
    def files(self) -> set[str]:
        """Every part file that this version needs."""
        return set(self.sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each of them."""
        parts = [*(block.part for block in self.blocks), *([self.latest] if self.latest else [])]
        return {part.file: part.size for part in parts} | {one.file: one.size for one in self.checkpoints}

    def remembering(self, previous: Manifest | None, fingerprint: str = "") -> Manifest:
        """Add this version's request, and what it said, to those that the previous version remembers."""
        requests = dict(previous.requests) if previous else {}
        requests[self.request_id] = self.version
        kept = dict(list(requests.items())[-REQUESTS_REMEMBERED:])
        said = {
            **(previous.fingerprints if previous else {}),
            **({self.request_id: fingerprint} if fingerprint else {}),
        }
        return replace(self, requests=kept, fingerprints={name: said[name] for name in kept if name in said})

    def to_bytes(self) -> bytes:
        """Give the file's content."""
        layouts = Layouts()
        value = {
            "format": FORMAT,
            "model_id": self.model_id,
            "version": self.version,
            "request_id": self.request_id,
            "operation": self.operation,
            "created_at": self.created_at,
            "deleted": self.deleted,
            "since": self.since,
            "requests": dict(self.requests),
            "fingerprints": dict(self.fingerprints),
            "meta": dict(self.meta),
            "latest": layouts.put(self.latest) if self.latest else None,
            "blocks": [
                {
                    "first_date": b.first_date,
                    "last_date": b.last_date,
                    "n_dates": b.n_dates,
                    "n_assets": b.n_assets,
                    "part": layouts.put(b.part),
                }
                for b in self.blocks
            ],
            "checkpoints": [list(one) for one in self.checkpoints],
        }
        value["layouts"] = layouts.to_json()
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)

    @staticmethod
    def from_bytes(content: bytes, before: Manifest | None = None) -> Manifest:
        """Read a file's content; blocks that `before` has too are taken from it, as parts never change.

        Raises
        ------
        ValueError
            It is no manifest, or the format is that of another release.
        """
        try:
            value = orjson.loads(content)
        except ValueError as error:
            raise ValueError(f"it is no JSON of {len(content)} bytes: {error}") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else None
            raise ValueError(f"manifest format {found} is not {FORMAT}: written by another release")
        try:
            return Manifest._of(value, before)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"it lacks what a manifest has: {type(error).__name__} {error}") from None

    @staticmethod
    def _of(value: dict[str, Any], before: Manifest | None) -> Manifest:
        layouts = Layouts(value["layouts"])
        # A correction may have left fewer days of a part.
        known = {(block.part.file, block.n_dates): block for block in before.blocks} if before else {}
        blocks = tuple(
            known.get((b["part"]["file"], b["n_dates"]))
            or Block(b["first_date"], b["last_date"], b["n_dates"], b["n_assets"], layouts.take(b["part"]))
            for b in value["blocks"]
        )
        return Manifest(
            value["model_id"],
            value["version"],
            value["request_id"],
            value["operation"],
            value["created_at"],
            blocks,
            layouts.take(value["latest"]) if value["latest"] else None,
            value["meta"],
            value["requests"],
            value["deleted"],
            value["since"],
            value.get("fingerprints", {}),
            tuple(Checkpoint(*one) for one in value.get("checkpoints", [])),
        )
