"""Panels: the wide tables that everything here computes on, and how frames become one."""

from factors.panel.panel import Array, Categories, Panel, position_of

__all__ = [
    "Array",
    "Categories",
    "Panel",
    "position_of",
]
