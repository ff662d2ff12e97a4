"""Errors of the factor library: a formula or a catalogue entry that cannot be used, and where."""

from __future__ import annotations


class LibraryError(ValueError):
    """Base of the errors that the factor library raises for its caller's input."""


class FormulaError(LibraryError):
    """A formula that cannot be read or typed.

    Parameters
    ----------
    message : str
        What is wrong, without the position.
    line, column : int
        Position in the text, from 1.
    expected : tuple of str
        What could stand there instead.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, expected: tuple[str, ...] = ()) -> None:
        self.message = message
        self.line = line
        self.column = column
        self.expected = expected
        tail = f"; expected {', '.join(expected)}" if expected else ""
        super().__init__(f"line {line}, column {column}: {message}{tail}")

    @property
    def position(self) -> tuple[int, int]:
        """Line and column, from 1."""
        return (self.line, self.column)

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, int, int, tuple[str, ...]]]:
        return (type(self), (self.message, self.line, self.column, self.expected))


class CatalogueError(LibraryError):
    """A catalogue file or entry that cannot be used.

    Parameters
    ----------
    message : str
        What is wrong.
    file : str
        The file's name.
    entry : str
        The entry's id, or its number where it has none.
    position : (int, int) or None
        Line and column inside the entry's formula, from 1.
    """

    def __init__(self, message: str, file: str, entry: str = "", position: tuple[int, int] | None = None) -> None:
        self.message = message
        self.file = file
        self.entry = entry
        self.position = position
        where = file + (f", entry {entry}" if entry else "")
        if position is not None:
            where += f", line {position[0]}, column {position[1]}"
        super().__init__(f"{where}: {message}")

    def __reduce__(self) -> tuple[type[CatalogueError], tuple[str, str, str, tuple[int, int] | None]]:
        return (type(self), (self.message, self.file, self.entry, self.position))


class FieldsError(LibraryError):
    """Fields handed to a library that are missing or of the wrong shape; the message names them."""


class CancelledError(LibraryError):
    """The caller's `cancel` asked a running batch to stop."""
