"""The market that a run starts with: an operator's file, or the deterministic sample.

Tables are read in a process of its own (`engine/market_file.py`): they and the library for them need memory that a
process which lives on would keep.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts import frames
from engine.errors import StartError


@dataclass(frozen=True)
class Market:
    """A market on its way into a model.

    Parameters
    ----------
    model_id
        The model that it becomes.
    fingerprint
        Names the content; also the request id of the write, so that loading the same market twice makes one version.
    source
        Where it comes from, in words.
    path
        An Arrow IPC stream under the run directory.
    largest
        The largest symbols by market cap on the last date, for examples.
    sector_encodings
        One-hot sector columns, or None.
    settings
        Settings of the model, how the table is read among them; empty for the defaults.
    """

    model_id: str
    fingerprint: str
    source: str
    path: Path
    largest: tuple[str, ...]
    sector_encodings: tuple[str, ...] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def already_loaded(self) -> bool:
        """Say whether a model was made of this market in this run directory."""
        return self._mark().exists()

    def note_loaded(self) -> None:
        """Remember that a model was made of this market."""
        self._mark().touch()

    def _mark(self) -> Path:
        return self.path.with_name(f"{self.fingerprint}.in.{self.model_id}")

    def request(self) -> dict[str, object]:
        """Give the payload of the operation `create_model`."""
        payload: dict[str, object] = {
            "model_id": self.model_id,
            "feature_data": frames.file_reference(self.path, frames.ARROW_STREAM),
            "request_id": self.fingerprint,
        }
        if self.sector_encodings is not None:
            payload["sector_encodings"] = list(self.sector_encodings)
        if self.settings:
            payload["settings"] = self.settings
        return payload


def require_columns(data: Path, run_dir: Path, settings: Path | None = None) -> None:
    """Check that a file is there, is a table, and has the columns of a market; reads no rows.

    Raises
    ------
    StartError
        Names the file and what is wrong with it.
    """
    if not data.is_file():
        raise StartError(f"DATA: there is no file {data}")
    _run(run_dir, "--data", str(data), "--check", *_given(settings))


def take(data: Path | None, run_dir: Path, model_id: str | None, settings: Path | None = None) -> Market:
    """Take the market of a file, read as the settings say, or the sample.

    Raises
    ------
    StartError
        What `market_file.data_market` says, or why the process failed.
    """
    arguments = [] if data is None else ["--data", str(data)]
    arguments += [] if model_id is None else ["--model", model_id]
    arguments += _given(settings)
    found = json.loads(_run(run_dir, *arguments))
    encodings = found["sector_encodings"]
    return Market(
        found["model_id"],
        found["fingerprint"],
        found["source"],
        Path(found["path"]),
        tuple(found["largest"]),
        None if encodings is None else tuple(encodings),
        found["settings"],
    )


def _given(settings: Path | None) -> list[str]:
    return [] if settings is None else ["--settings", str(settings)]


def _run(run_dir: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "engine.market_file", str(run_dir), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"reading the market ended with {done.returncode}"]
        raise StartError(lines[-1])
    return done.stdout
