"""How every picture looks, and what `plot` gives. Needs matplotlib (`pip install factor-engine[report]`)."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factors.errors import FactorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE = "#0072b2", "#d55e00"
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito, "Color Universal Design" (2008): told apart with any colour blindness; their yellow is too light."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
"""Lines differ by more than their colour."""
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")
"""Columns too."""
DIVERGING = "PuOr"
"""Of heat maps about zero; safe for colour blindness (ColorBrewer)."""
GREY, SOFT = "#59636e", "#e3e7ec"
SIZE = (7.2, 3.6)
DPI = 120
RC: Any = {
    "svg.hashsalt": "factor-engine",  # the same figures give the same bytes
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
}


class Picture:
    """A picture that a notebook shows by itself; nothing of matplotlib's global state is touched.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes
        The first, to change what is there.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.axes: Axes = figure.axes[0]

    def save(self, path: str | Path) -> Path:
        """Write the picture; the ending says what it becomes (png, svg, pdf)."""
        where = Path(path)
        with style():
            # No date and no version: the same figures give the same file.
            nothing = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
            kind = where.suffix.lstrip(".").lower()
            self.figure.savefig(where, dpi=DPI, metadata=nothing.get(kind))
        return where

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with style():
            self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return buffer.getvalue()

    def __repr__(self) -> str:
        title = self.axes.get_title(loc="left") or "untitled"
        return f"<Picture {title!r}>"


def style() -> AbstractContextManager[None]:
    """Give the style as a context of matplotlib's settings.

    Raises
    ------
    FactorError
        Without matplotlib; names the extra.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise FactorError("pictures need matplotlib: pip install factor-engine[report]", field="report") from None
    return rc_context(RC)


def draw(into: Callable[[Axes], None], axes: Axes | None = None, size: tuple[float, float] = SIZE) -> Picture:
    """Draw in the caller's axes, or in a figure of its own.

    Raises
    ------
    FactorError
        Without matplotlib; names the extra.
    """
    with style():
        from matplotlib.figure import Figure

        own = Figure(figsize=size, layout="constrained").subplots() if axes is None else axes
        into(own)
        figure = own.get_figure(root=True)
        assert figure is not None
    picture = Picture(figure)
    picture.axes = own
    return picture
