"""The state of a model as arrays: what a store keeps, and what a model is rebuilt from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError, StageError

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ModelState:
    """A model as named arrays.

    Attributes
    ----------
    dates : datetime64[D] [n_dates]
    symbols : tuple of str
        New symbols are appended: the state of a longer model is the concatenation of its days, padded with the fill of
        `fill_of` on the asset axis.
    factor_names, style_names : tuple of str
    category_names : mapping to tuple of str
        The vocabulary of each category.
    day_asset : mapping to arrays [n_dates, ..., n_assets]
    day : mapping to arrays [n_dates, ...]
    latest : mapping to arrays
        Replaced at each version.
    recipe, settings : JSON-able
    """

    dates: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    factor_names: tuple[str, ...]
    style_names: tuple[str, ...]
    category_names: Mapping[str, tuple[str, ...]]
    day_asset: Arrays
    day: Arrays
    latest: Arrays
    recipe: dict[str, Any]
    settings: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write one .npy file an array and a manifest.json into a folder that does not exist or is empty."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            raise FactorError(f"the folder {root.name} is not empty", field="folder")
        manifest: dict[str, Any] = {
            "symbols": list(self.symbols),
            "factor_names": list(self.factor_names),
            "style_names": list(self.style_names),
            "category_names": {name: list(words) for name, words in self.category_names.items()},
            "recipe": self.recipe,
            "settings": self.settings,
        }
        np.save(root / "dates.npy", self.dates.astype(np.int64))
        for group in ("day_asset", "day", "latest"):
            names = list(getattr(self, group))
            manifest[group] = names
            for number, name in enumerate(names):
                np.save(root / f"{group}-{number}.npy", getattr(self, group)[name])
        (root / "manifest.json").write_text(json.dumps(manifest))

    @classmethod
    def load(cls, folder: str | Path) -> ModelState:
        """Read what `save` wrote; arrays are memory-mapped."""
        root = Path(folder)
        try:
            manifest = json.loads((root / "manifest.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise FactorError(f"{root.name} holds no saved model", field="folder") from error
        arrays = {
            group: {
                name: np.load(root / f"{group}-{number}.npy", mmap_mode="r")
                for number, name in enumerate(manifest[group])
            }
            for group in ("day_asset", "day", "latest")
        }
        return cls(
            dates=np.load(root / "dates.npy").astype("datetime64[D]"),
            symbols=tuple(manifest["symbols"]),
            factor_names=tuple(manifest["factor_names"]),
            style_names=tuple(manifest["style_names"]),
            category_names={name: tuple(words) for name, words in manifest["category_names"].items()},
            recipe=manifest["recipe"],
            settings=manifest["settings"],
            **arrays,
        )


def fill_of(array: NDArray[Any]) -> float | int | bool:
    """Give the value that stands for an asset that was not there yet."""
    if array.dtype.kind == "f":
        return float("nan")
    return False if array.dtype.kind == "b" else -1


class History:
    """Arrays that grow by days: blocks are kept as they come and joined when someone asks for the whole.

    Adding a day costs the day, whatever came before.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, list[NDArray[Any]]] = {}
        self._by_asset: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._blocks

    @property
    def names(self) -> tuple[str, ...]:
        """The names held."""
        return tuple(self._blocks)

    def by_asset(self, name: str) -> bool:
        """Say whether the last axis of an array is the assets."""
        return name in self._by_asset

    def replace(self, name: str, block: NDArray[Any], *, by_asset: bool) -> None:
        """Start an array again with one block."""
        self._blocks[name] = [block]
        (self._by_asset.add if by_asset else self._by_asset.discard)(name)

    def append(self, name: str, block: NDArray[Any], *, by_asset: bool) -> None:
        """Add a block of days."""
        self._blocks.setdefault(name, []).append(block)
        if by_asset:
            self._by_asset.add(name)

    def forget(self, rows: int) -> None:
        """Keep only the last `rows` rows of every array; blocks go whole, so that a day's worth costs nothing."""
        for blocks in self._blocks.values():
            spare = sum(len(block) for block in blocks) - rows
            while spare > 0 and len(blocks[0]) <= spare:
                spare -= len(blocks.pop(0))
            if spare > 0:
                blocks[0] = np.array(blocks[0][spare:])

    def drop(self, *names: str) -> None:
        """Forget arrays."""
        for name in names:
            self._blocks.pop(name, None)
            self._by_asset.discard(name)

    def get(self, name: str) -> NDArray[Any]:
        """Give the whole array, joining its blocks once."""
        blocks = self._blocks[name]
        if len(blocks) > 1:
            if name in self._by_asset:
                width = max(block.shape[-1] for block in blocks)
                blocks = [wide(block, width) for block in blocks]
            blocks = [np.concatenate(blocks)]
            self._blocks[name] = blocks
        return blocks[0]

    def tail(self, name: str, rows: int) -> NDArray[Any]:
        """Give the last rows without joining everything."""
        if name not in self._blocks:
            raise StageError(f"the model has no {name} yet: run the stage that makes it", field=name)
        taken: list[NDArray[Any]] = []
        missing = rows
        for block in reversed(self._blocks[name]):
            taken.insert(0, block[max(0, len(block) - missing) :])
            missing -= len(taken[0])
            if missing <= 0:
                break
        if name in self._by_asset:
            width = max(block.shape[-1] for block in taken)
            taken = [wide(block, width) for block in taken]
        return writable(taken[0]) if len(taken) == 1 else np.concatenate(taken)


def writable(values: NDArray[Any]) -> NDArray[Any]:
    """Copy what is memory-mapped read-only: kernels would be compiled a second time for arrays they may not write."""
    return values if values.flags.writeable else np.array(values)


def wide(block: NDArray[Any], width: int) -> NDArray[Any]:
    """Give an array with room for more assets, which have its fill."""
    if block.shape[-1] == width:
        return block
    out = np.full((*block.shape[:-1], width), fill_of(block), dtype=block.dtype)
    out[..., : block.shape[-1]] = block
    return out
