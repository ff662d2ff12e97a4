"""What stops a start: told on the terminal in one line, with the fix."""

from __future__ import annotations


class StartError(Exception):
    """The engine cannot start as asked; the text names the fix."""
