"""What a notebook shows of a result: a table, a picture, and a polars frame."""

from factors.notebook.named import Named, Names
from factors.notebook.shown import Figures, Shown
from factors.notebook.style import Picture

__all__ = [
    "Figures",
    "Named",
    "Names",
    "Picture",
    "Shown",
]
