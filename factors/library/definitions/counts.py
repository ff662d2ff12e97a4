"""The counts that docs/factors.md states: the census of the sample market and of a real panel, stored as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from factors.library.definitions.catalogue import Catalogue
from factors.library.definitions.census import Census, census
from factors.library.definitions.distinct import THRESHOLDS
from factors.panel.panel import Panel
from factors.sample.market import sample_market

SAMPLE, BUSY, REAL = "sample market", "sample market without quiet days", "real panel"
# The real panel has no vwap and no benchmark; factors of them do not compute there. (With proxies they would: the
# typical price makes twins of some, the panel's own market of others.) Its shares are cap over close, its volumes are
# real.
NOT_REAL = ("vwap", "amount", "benchmark_open", "benchmark_close", "benchmark_return")


def count_panels(
    catalogue: Catalogue, parquet: Path, *, n_names: int | None = None, threads: int = 2
) -> dict[str, Census]:
    """Take the census of the sample market, with quiet days and without, and of a long frame of real data.

    Parameters
    ----------
    parquet : Path
        As `Panel.from_frame` reads it.
    n_names : int, optional
        Compare on so many names.
    """
    real = Panel.from_frame(pl.read_parquet(parquet))
    return {
        SAMPLE: census(catalogue, sample_market().panel, n_names=n_names, threads=threads),
        BUSY: census(catalogue, sample_market(quiet_share=0.0).panel, n_names=n_names, threads=threads),
        REAL: census(catalogue, real, without=NOT_REAL, n_names=n_names, threads=threads),
    }


def write_counts(path: Path, panels: Mapping[str, Census]) -> None:
    """Store the counts, the clusters and what is missing."""
    lines = ["# Written by `python -m factors.library.definitions.document --count`; see docs/factors.md."]
    for name, found in panels.items():
        lines += ["", f'["{name}"]', f"counted = {len(found.counted)}"]
        lines += [f"n_dates = {found.n_dates}", f"n_names = {found.n_names}", "", f'["{name}".distinct]']
        lines += [f'"{t}" = {len(found.similarity.clusters(t))}' for t in THRESHOLDS]
        for threshold in THRESHOLDS:
            clusters = {kept: members for kept, members in found.similarity.clusters(threshold).items() if members}
            lines += ["", f'["{name}".clusters."{threshold}"]']
            lines += [f"{kept} = {json.dumps([member for member, _ in m])}" for kept, m in clusters.items()]
        lines += ["", f'["{name}".missing]']
        lines += [f"{factor} = {json.dumps(reason)}" for factor, reason in found.missing.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
