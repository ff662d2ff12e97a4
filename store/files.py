"""The files of a store by their names, wherever they lie: what copying, checking and mending a store need."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from contracts.errors import InvalidInput, VersionConflict
from contracts.files import replacing
from store.bucket import Bucket, Refused
from store.lock import locked
from store.objects import HEADS
from store.parts import sync_folder
from store.poll import POLLED, is_head
from store.probe import probe

_PIECE = 8 << 20


class Files(Protocol):
    """A store's files. Names are those below its folder; heads, as `store.poll` knows them, are put again and again."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def exists(self) -> bool:
        """Say whether there is a store."""

    def values(self, room: str) -> list[str]:
        """Names of the folders of a room such as ``models``, in order."""

    def sizes(self, below: str) -> dict[str, int]:
        """Give names and bytes of the files below a folder, in order; of a copy under way too."""

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Read a file, or some of it. Raises `FileNotFoundError`."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read a large file. Raises `FileNotFoundError`."""

    def put(self, name: str, source: Files) -> int:
        """Take a file over from another store, whole and durable; give its bytes. Raises `FileNotFoundError`."""

    def write(self, name: str, content: bytes) -> None:
        """Put a small file in place, whole and durable. Raises `VersionConflict` where a head is not what was read."""

    def remove(self, name: str) -> None:
        """Take a file away."""

    def alone(self, folder: str) -> contextlib.AbstractContextManager[None]:
        """Have no writer change a value meanwhile, where that can be had."""


class FolderFiles:
    """Files of a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root.resolve())

    def exists(self) -> bool:
        """Say whether there is a store."""
        return (self.root / "models").is_dir() or (self.root / "portfolios").is_dir()

    def values(self, room: str) -> list[str]:
        """Name the folders."""
        folder = self.root / room
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def sizes(self, below: str) -> dict[str, int]:
        """Look at the files."""
        found = {}
        start = self.root / below
        for path in sorted([start] if start.is_file() else start.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.name.startswith(".") and path.name != "lock":
                    found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return found

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Read the file."""
        with (self.root / name).open("rb") as file:
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read it piece by piece."""
        with (self.root / name).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def put(self, name: str, source: Files) -> int:
        """Write what the other store has under that name."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path, durable=True) as out:
            if isinstance(source, FolderFiles):
                with (source.root / name).open("rb") as read:
                    shutil.copyfileobj(read, out, _PIECE)
            else:
                for piece in source.pieces(name):
                    out.write(piece)
            os.fchmod(out.fileno(), 0o600)
        sync_folder(path.parent)
        return path.stat().st_size

    def write(self, name: str, content: bytes) -> None:
        """Write it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path, durable=True) as out:
            out.write(content)
        sync_folder(path.parent)

    def remove(self, name: str) -> None:
        """Remove it."""
        (self.root / name).unlink(missing_ok=True)

    def alone(self, folder: str) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of commits."""
        return locked(self.root / folder)


class ObjectFiles:
    """Files of a prefix of a bucket, where heads lie together."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.name = bucket.uri
        self._read: dict[str, object] = {}
        self._probed = False

    def exists(self) -> bool:
        """Say whether there is a head."""
        return next(iter(self.bucket.listed(HEADS)), None) is not None

    def values(self, room: str) -> list[str]:
        """Name the folders that heads lie in."""
        found = {one.key.removeprefix(f"{HEADS}{room}/") for one in self.bucket.listed(f"{HEADS}{room}/")}
        return sorted(name.split("/")[0] for name in found if "/" in name)

    def sizes(self, below: str) -> dict[str, int]:
        """List the objects."""
        if "." in below.rpartition("/")[2]:  # one file
            found = [one for one in self.bucket.listed(_key(below).rpartition("/")[0]) if one.key == _key(below)]
            return {below: found[0].size} if found else {}
        heads = {one.key.removeprefix(HEADS): one.size for one in self.bucket.listed(f"{HEADS}{below}/")}
        return dict(sorted({**heads, **{one.key: one.size for one in self.bucket.listed(f"{below}/")}}.items()))

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Get the object."""
        if length is not None:
            return self.bucket.range(_key(name), start, length)
        try:
            found = self.bucket.get(_key(name))
        except FileNotFoundError:
            self._read[name] = None
            raise
        assert found is not None  # no condition was given
        if is_head(name):
            self._read[name] = found.version
        return found.content[start:]

    def pieces(self, name: str) -> Iterator[bytes]:
        """Get it piece by piece."""
        size = self.bucket.size(_key(name))
        for start in range(0, size, _PIECE):
            yield self.bucket.range(_key(name), start, min(_PIECE, size - start))

    def put(self, name: str, source: Files) -> int:
        """Upload what the other store has under that name."""
        if isinstance(source, FolderFiles):
            self.bucket.put(_key(name), source.root / name)
            return (source.root / name).stat().st_size
        return self.bucket.put_pieces(_key(name), source.pieces(name))

    def write(self, name: str, content: bytes) -> None:
        """Put it; a head only in place of the state that was read last."""
        if not self._probed:
            probe(self.bucket)
            self._probed = True
        if not is_head(name):
            self.bucket.put(_key(name), content)
            return
        if name not in self._read:
            with contextlib.suppress(FileNotFoundError):
                self.read(name)
        try:
            self._read[name] = self.bucket.put_if(_key(name), content, self._read.get(name))  # type: ignore[arg-type]
        except Refused:
            self._read.pop(name, None)
            if self.read(name) != content:
                raise VersionConflict(f"{name} of {self.name} was changed by others meanwhile: do it again") from None

    def remove(self, name: str) -> None:
        """Remove it."""
        self.bucket.delete([_key(name)])

    def alone(self, folder: str) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Have it as it is: a head that others changed is not put over."""
        return contextlib.nullcontext()


def _key(name: str) -> str:
    return HEADS + name if is_head(name) else name


def opened(place: str | Path | Files) -> Files:
    """Open a folder, or what a URI names; what is open stays so.

    Raises
    ------
    InvalidInput
        The URI is none of a store, or the folder is a node's copy of an object store.
    """
    if not isinstance(place, (str, Path)):
        return place
    if "://" in str(place) and not str(place).startswith("file://"):
        try:
            return ObjectFiles(Bucket(str(place)))
        except ValueError as error:
            raise InvalidInput(f"{place}: {error}", field="store") from None
    root = Path(str(place).removeprefix("file://"))
    if (root / POLLED).exists():
        raise InvalidInput(f"{root} is a copy of an object store: give the address of that", field="store")
    return FolderFiles(root)
