"""A version of a model, opened for reading: arrays are memory maps until days of several blocks must be joined."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np

from contracts.errors import ModelUnreadable, UnknownModel
from store import checkpoints
from store.checkpoints import Checkpoint
from store.manifest import Block, Manifest
from store.parts import MAPS, Part

Names = tuple[np.ndarray, tuple[str, ...], dict[str, int], np.ndarray]
Fetch = Callable[[Path], None]
MANIFEST = "manifest.json"
DAY_ASSET, DAY = "day_asset/", "day/"
SYMBOLS = "symbols"


@dataclass(frozen=True)
class StoredState:
    """A model's state as the store keeps it; the fields are those of `factors.ModelState`."""

    dates: np.ndarray
    symbols: tuple[str, ...]
    day_asset: Mapping[str, np.ndarray]
    day: Mapping[str, np.ndarray]
    latest: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]


class Version:
    """Reads one version; immutable, so it may be kept as long as a reader likes.

    Parameters
    ----------
    folder
        The model's folder of parts.
    manifest
        The version's manifest.
    before
        A version of the same model: the names are shared with it where they did not change.
    fetch
        Brings a part that is not in the folder, where the folder is a copy of an object store.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, before: Version | None = None, fetch: Fetch | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self._fetch = fetch
        self._known: Names | None = None if before is None else vars(before).get("_names")

    @cached_property
    def dates(self) -> np.ndarray:
        """Dates, datetime64[D] [n_dates], ascending."""
        parts = [np.asarray(self._read(block, "dates")) for block in self.manifest.blocks]
        return np.concatenate(parts) if parts else np.empty(0, "datetime64[D]")

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names, in the order of the asset axis."""
        return self._names[1]

    @property
    def column(self) -> dict[str, int]:
        """Position of each name on the asset axis."""
        return self._names[2]

    def names_of(self, columns: np.ndarray) -> list[str]:
        """Names at some positions."""
        chosen: list[str] = self._names[3][columns].tolist()
        return chosen

    @cached_property
    def _names(self) -> Names:
        """The stored names, as a tuple, their positions, and as an array of the same strings."""
        if not self.manifest.blocks:
            return np.empty(0, np.str_), (), {}, np.empty(0, np.object_)
        stored = np.asarray(self._read(self.manifest.blocks[-1], SYMBOLS))
        if self._known is not None and np.array_equal(stored, self._known[0]):
            return self._known
        symbols = tuple(stored.tolist())
        return stored, symbols, {symbol: i for i, symbol in enumerate(symbols)}, np.array(symbols, np.object_)

    def date(self, row: int) -> np.datetime64:
        """Give one date, without joining those of all blocks."""
        number = bisect_right(self._firsts, row) - 1
        day: np.datetime64 = self._read(self.manifest.blocks[number], "dates")[row - self._firsts[number]]
        return day

    def rows_before(self, day: np.datetime64, *, through: bool = False) -> int:
        """Count the days before a day, or through it, without joining those of all blocks."""
        side: Literal["left", "right"] = "right" if through else "left"
        number = int(np.searchsorted(self._first_dates, day, "right")) - 1
        if number < 0:
            return 0
        dates = np.asarray(self._read(self.manifest.blocks[number], "dates"))
        return self._firsts[number] + int(np.searchsorted(dates, day, side))

    def dates_of(self, rows: slice) -> np.ndarray:
        """Give some dates, without joining those of all blocks."""
        return self._days("dates", rows, widen=False)

    def latest(self, name: str) -> np.ndarray:
        """Map an array that each version replaces; `KeyError` when this version has none of that name."""
        part = self.manifest.latest
        if part is None:
            raise KeyError(name)
        return self._map(part, name)

    def latest_names(self) -> tuple[str, ...]:
        """Names of the arrays that each version replaces."""
        return tuple(self.manifest.latest.arrays) if self.manifest.latest else ()

    def day_asset(self, name: str, rows: slice = slice(None), columns: np.ndarray | None = None) -> np.ndarray:
        """Give a day-by-asset array [n_dates, ..., n_assets] for some days, of all names or of some.

        A single block gives a view of the file; several are joined, names that a block did not know yet are NaN
        (-1 for integer codes, False for masks). Of a few names only their cells are read.
        """
        return self._days(DAY_ASSET + name, rows, widen=True, columns=columns)

    def day(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """Give a by-day array [n_dates, ...] for some days."""
        return self._days(DAY + name, rows, widen=False)

    def state(self, last: int | None = None) -> StoredState:
        """Read everything, or of what is kept by day the last days; joins blocks."""
        arrays = self.manifest.blocks[0].part.arrays if self.manifest.blocks else {}
        rows = slice(0 if last is None else max(self.manifest.n_dates - last, 0), None)
        return StoredState(
            self.dates[rows],
            self.symbols,
            {n.removeprefix(DAY_ASSET): self._days(n, rows, True) for n in arrays if n.startswith(DAY_ASSET)},
            {n.removeprefix(DAY): self._days(n, rows, False) for n in arrays if n.startswith(DAY)},
            {name: self.latest(name) for name in self.latest_names()},
            self.manifest.meta,
        )

    def state_at(self, checkpoint: Checkpoint, last: int) -> StoredState:
        """Read what the model was after the days of a checkpoint; of what is kept by day the last days.

        Raises
        ------
        ModelUnreadable
            The checkpoint is damaged, or was retired since.
        """
        try:
            path = self.folder / checkpoint.file
            if self._fetch is not None and not path.exists():
                self._fetch(path)
            carried = checkpoints.decoded(path.read_bytes(), checkpoint)
        except (OSError, ValueError) as error:
            raise unreadable(self.manifest.model_id, self.folder / checkpoint.file, error) from None
        arrays, n = self.manifest.blocks[0].part.arrays, checkpoint.n_assets
        rows = slice(max(checkpoint.n_dates - last, 0), checkpoint.n_dates)
        return StoredState(
            self.dates_of(rows),
            self.symbols[:n],
            {
                name.removeprefix(DAY_ASSET): self._days(name, rows, True)[..., :n]
                for name in arrays
                if name.startswith(DAY_ASSET)
            },
            {name.removeprefix(DAY): self._days(name, rows, False) for name in arrays if name.startswith(DAY)},
            carried,
            self.manifest.meta,
        )

    @cached_property
    def _firsts(self) -> list[int]:
        """Row of each block's first day."""
        return list(accumulate((block.n_dates for block in self.manifest.blocks[:-1]), initial=0))

    @cached_property
    def _first_dates(self) -> np.ndarray:
        return np.array([block.first_date for block in self.manifest.blocks], "datetime64[D]")

    @cached_property
    def damage(self) -> ModelUnreadable | None:
        """Name the first part that is not there in its whole length; looked for once.

        In a copy of an object store a part that is not there is brought when it is read.
        """
        manifest = self.manifest
        parts = [block.part for block in manifest.blocks] + ([manifest.latest] if manifest.latest else [])
        for part in parts:
            path = self.folder / part.file
            try:
                size = path.stat().st_size
            except OSError as error:
                if self._fetch is not None and isinstance(error, FileNotFoundError):
                    continue
                return unreadable(manifest.model_id, path, error)
            if size != part.size:
                wrong = ValueError(f"it has {size} bytes instead of {part.size}")
                return unreadable(manifest.model_id, path, wrong)
        return None

    def _read(self, block: Block, name: str) -> np.ndarray:
        """Map an array of a block: what was replaced behind its days is left out."""
        array = self._map(block.part, name)
        return array if name == SYMBOLS or len(array) == block.n_dates else array[: block.n_dates]

    def _map(self, part: Part, name: str) -> np.ndarray:
        """Map an array of a part; `KeyError` when the part has none of that name.

        Raises
        ------
        UnknownModel
            The version was retired between the look at its manifest and this.
        ModelUnreadable
            The part is damaged, or gone though the newest version needs it.
        """
        try:
            try:
                return MAPS.read(self.folder, part, name)
            except FileNotFoundError:
                if self._fetch is None:
                    raise
                self._fetch(self.folder / part.file)
                return MAPS.read(self.folder, part, name)
        except (OSError, ValueError) as error:
            number, model_id = self.manifest.version, self.manifest.model_id
            if isinstance(error, FileNotFoundError) and self._is_retired():
                raise UnknownModel(f"version {number} of model {model_id!r} was retired", field="model_id") from None
            raise unreadable(model_id, self.folder / part.file, error) from None

    def _is_retired(self) -> bool:
        try:
            newest = Manifest.from_bytes((self.folder.parent / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return False
        return newest.version != self.manifest.version

    def _days(self, name: str, rows: slice, widen: bool, columns: np.ndarray | None = None) -> np.ndarray:
        start, stop, step = rows.indices(self.manifest.n_dates)
        if step != 1:
            raise ValueError("days are read in steps of one")
        pieces = []
        for number in range(bisect_right(self._firsts, start) - 1, len(self.manifest.blocks)):
            block, first = self.manifest.blocks[number], self._firsts[number]
            if first >= stop:
                break
            piece = self._read(block, name)[max(start - first, 0) : stop - first]
            if len(piece) and columns is not None:
                pieces.append(_taken(piece, columns))
            elif len(piece):
                pieces.append(_widen(piece, self.manifest.n_assets) if widen else piece)
        if not pieces:
            block = self.manifest.blocks[0]
            none = self._read(block, name)[:0]
            return none if columns is None else _taken(none, columns)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def unreadable(model_id: str, path: Path, error: OSError | ValueError) -> ModelUnreadable:
    """Make the error that names a model's file, as it lies in the store's folder, and why it cannot be read."""
    file = "/".join(path.parts[path.parts.index("models") :]) if "models" in path.parts else path.name
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ModelUnreadable(f"model {model_id!r} cannot be read: {file}: {reason}", field="model_id", rows=[file])


def _widen(piece: np.ndarray, n_assets: int) -> np.ndarray:
    missing = n_assets - piece.shape[-1]
    if missing == 0:
        return piece
    return np.pad(piece, [(0, 0)] * (piece.ndim - 1) + [(0, missing)], constant_values=_fill(piece))


def _taken(piece: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Take some names of a block, of which it may not know all yet."""
    n_known = piece.shape[-1]
    there = columns < n_known
    if there.all():
        return np.asarray(piece)[..., columns]
    out = np.full((*piece.shape[:-1], len(columns)), _fill(piece), piece.dtype)
    out[..., there] = np.asarray(piece)[..., columns[there]]
    return out


def _fill(piece: np.ndarray) -> float | bool:
    return {"f": np.nan, "b": False}.get(piece.dtype.kind, -1)
