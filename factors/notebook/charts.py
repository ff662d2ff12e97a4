"""Bars, lines, heat maps: each draws into axes, in the one style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.notebook.style import BLUE, DASHES, DIVERGING, GREY, HATCHES, ORANGE, PALETTE, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20
"""Bars that can be read; the largest by size are drawn, and the title says of how many."""
MOST_CELLS = 12
"""A heat map of at most so many names has its numbers in it."""


def bars(
    axes: Axes,
    labels: Sequence[str],
    values: Sequence[float] | NDArray[np.float64],
    *,
    title: str,
    errors: NDArray[np.float64] | None = None,
    form: str = ".3g",
) -> None:
    """Draw a bar of each value, the largest by size on top, with its figure beside it; what is missing has none."""
    sizes = np.asarray(values, np.float64)
    known = np.flatnonzero(np.isfinite(sizes))
    chosen = known[np.argsort(-np.abs(sizes[known]), kind="stable")][:MOST_BARS]
    if not chosen.size:
        raise FactorError(f"{title}: there is no number to draw", field="plot")
    at = np.arange(chosen.size)[::-1]
    shown = sizes[chosen]
    spread = None if errors is None else np.asarray(errors)[chosen]
    colours = [BLUE if value >= 0.0 else ORANGE for value in shown]
    axes.barh(at, shown, color=colours, xerr=spread, error_kw={"ecolor": GREY, "elinewidth": 0.8})
    ends = shown if spread is None else shown + np.sign(shown) * np.nan_to_num(spread)
    for place, value, end in zip(at, shown, ends, strict=True):
        side = 1 if value >= 0.0 else -1
        axes.annotate(
            format(value, form), (end, place), (3 * side, 0), textcoords="offset points", fontsize=7,
            va="center", ha="left" if side > 0 else "right", color=GREY,
        )  # fmt: skip
    axes.set_yticks(at, [labels[n] for n in chosen])
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.margins(x=0.12)
    left = f" (largest {chosen.size} of {known.size})" if known.size > chosen.size else ""
    _finish(axes, title + left, "x")
    if "%" in form:
        axes.xaxis.set_major_formatter(_percent)


def columns(
    axes: Axes,
    labels: Sequence[str],
    groups: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    percent: bool = False,
) -> None:
    """Draw upright bars in the order given, one colour and hatch a group; a gap where there is no value."""
    at = np.arange(len(labels))
    width = 0.8 / len(groups)
    for n, (name, values) in enumerate(groups.items()):
        heights = np.array([np.nan if value is None else value for value in values], np.float64)
        place = at + (n - 0.5 * (len(groups) - 1)) * width
        axes.bar(place, heights, width, label=name, color=PALETTE[n % len(PALETTE)], hatch=HATCHES[n % len(HATCHES)],
                 edgecolor="white", linewidth=0.3)  # fmt: skip
    every = max(1, len(labels) // 12)
    axes.set_xticks(at[::every], list(labels)[::every])
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    if percent:
        axes.yaxis.set_major_formatter(_percent)
    _finish(axes, title, "y")
    if len(groups) > 1:
        axes.legend(frameon=False, fontsize=7)


def lines(
    axes: Axes,
    at: Any,
    series: Mapping[str, NDArray[np.float64]],
    *,
    title: str,
    unit: str = "",
    percent: bool = False,
) -> None:
    """Draw a line of each series, with a gap where it is missing; lines differ by colour and by dashes."""
    for n, (name, values) in enumerate(series.items()):
        axes.plot(
            at, values, label=name, color=PALETTE[n % len(PALETTE)], linewidth=1.2,
            linestyle=DASHES[(n // len(PALETTE) + n) % len(DASHES)],
        )  # fmt: skip
    if np.asarray(at).dtype.kind == "M":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    if percent:
        axes.yaxis.set_major_formatter(_percent)
    axes.set_ylabel(unit)
    _finish(axes, title, "y")
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def histogram(axes: Axes, values: NDArray[np.float64], *, title: str, bins: int = 40) -> None:
    """Draw how many values lie where."""
    axes.hist(values, bins=bins, color=BLUE, edgecolor="white", linewidth=0.3)
    axes.set_ylabel("names")
    _finish(axes, title, "y")


def heat(axes: Axes, names: Sequence[str], matrix: NDArray[np.float64], *, title: str, form: str = ".2f") -> None:
    """Draw a square matrix about zero, with its numbers in it where there is room."""
    most = float(np.nanmax(np.abs(matrix))) if np.isfinite(matrix).any() else 1.0
    image = axes.imshow(matrix, cmap=DIVERGING, vmin=-most, vmax=most)
    at = np.arange(len(names))
    axes.set_xticks(at, names, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(at, names, fontsize=7)
    if len(names) <= MOST_CELLS:
        for (row, column), value in np.ndenumerate(matrix):
            dark = abs(value) > 0.6 * most
            text = format(value, form) if np.isfinite(value) else "-"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes, shrink=0.8)
    axes.set_title(title)


def _finish(axes: Axes, title: str, grid: Any) -> None:
    axes.set_title(title)
    axes.grid(axis=grid, color=SOFT, linewidth=0.7)
    axes.set_axisbelow(True)


def _percent(value: float, _: Any) -> str:
    return f"{100.0 * value:.3g} %"
