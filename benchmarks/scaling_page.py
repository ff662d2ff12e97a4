"""The part of docs/scaling.md that is measured: written between two marks, read back by a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scaling_model import TERMS, WITHIN, Fitted, Forecast, Size, within

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
HEADINGS = ("### The runs", "### The cost model", "### The largest run", "### Predicted")


class Checked(NamedTuple):
    """A cost of the largest run: what was predicted of it, and what it was."""

    name: str
    predicted: float
    measured: float
    judged: bool = True
    """False where it is printed only: the prediction is of a machine with nothing else on it."""


def put(section: str, page: Path = PAGE) -> None:
    """Put the section between the marks of the page. Raises `ValueError` where the page lacks one."""
    text = page.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{page.name} lacks {BEGIN} or {END}")
    page.write_text(f"{before}{BEGIN}\n{section.strip()}\n{END}{after}", encoding="utf-8")


def section_of(page: Path = PAGE) -> str:
    """Give what stands between the marks."""
    return page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]


def runs_table(sizes: Sequence[Size], costs: dict[str, Sequence[float]]) -> str:
    """Show what was measured."""
    lines = ["| names | days | factors | chains | processor, s | memory, MB | read, MB | written, MB | stored, MB |"]
    lines.append("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for i, size in enumerate(sizes):
        seconds = sum(costs[name][i] for name in ("start_s", "plan_s", "model_s", "library_s"))
        figures = [seconds, *(costs[f"{name}_bytes"][i] / 1e6 for name in ("memory", "read", "written", "stored"))]
        told = " | ".join(f"{value:,.1f}" for value in figures)
        lines.append(f"| {size.names:,} | {size.days:,} | {size.factors} | {size.chains + 1} | {told} |")
    return "\n".join(lines)


def model_table(fitted: Fitted) -> str:
    """Show the terms with their constants, and what the fit misses."""
    lines = ["| cost | grows with | constant | behind it |", "|---|---|---:|---|"]
    for cost, terms in TERMS.items():
        for term, constant in zip(terms, fitted.constants[cost], strict=True):
            unit = "s" if cost.endswith("_s") else "bytes"
            what = cost.removesuffix("_s").removesuffix("_bytes")
            lines.append(f"| {what} | {term.grows_with} | {constant:.3g} {unit} | {term.why} |")
    missed = ", ".join(f"{cost.rpartition('_')[0]} {100 * error:.0f} %" for cost, error in fitted.errors.items())
    return "\n".join([*lines, "", f"The run that fits worst is off by: {missed}."])


def checked_table(checked: Sequence[Checked]) -> str:
    """Show predictions beside the run, with what is met."""
    lines = ["| of the run | predicted | measured | difference | within 25 % |", "|---|---:|---:|---:|---|"]
    assert WITHIN == 0.25
    for one in checked:
        off = one.predicted / one.measured - 1.0
        verdict = ("met" if within(one.predicted, one.measured) else "missed") if one.judged else "not judged"
        lines.append(f"| {one.name} | {one.predicted:,.1f} | {one.measured:,.1f} | {100 * off:+.0f} % | {verdict} |")
    return "\n".join(lines)


def forecast_table(forecasts: Sequence[Forecast]) -> str:
    """Show what the largest work takes on so many nodes."""
    head = [
        "nodes",
        "chains at once",
        "at least",
        "planning",
        "chains",
        "longest chain",
        "a node's disk",
        "a node's network",
    ]
    head += ["memory of a node, GB", "over the network, GB", "stored, GB", "bottleneck"]
    lines = [f"| {' | '.join(head)} |", "|---:" * (len(head) - 1) + "|---|"]
    for one in forecasts:
        seconds = (one.at_least_s, one.plan_s, one.compute_s, one.longest_s, one.disk_s, one.network_s)
        cells = [str(one.nodes), str(one.at_once * one.nodes), *map(duration, seconds)]
        cells += [f"{value / 1e9:,.1f}" for value in (one.memory_bytes, one.network_bytes, one.stored_bytes)]
        lines.append(f"| {' | '.join([*cells, one.bottleneck])} |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Write seconds as people read them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
