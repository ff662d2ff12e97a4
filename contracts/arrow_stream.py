"""How large an Arrow IPC stream is, read from the headers of its messages; nothing is decoded.

Format: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc. A message
is ``0xFFFFFFFF``, the length of its metadata (int32), the metadata (a flatbuffer `Message`) and the body. Of the
flatbuffer only what is needed is read: where the buffers of a batch lie, and whether they are compressed; then each
begins with its decompressed length (int64, -1: stored as it is).
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from contracts.errors import MalformedBody, TableTooLarge

CONTINUATION = 0xFFFFFFFF
MAX_METADATA_BYTES = 16 * 2**20
MAX_MESSAGES = 100_000
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_PER_VALUE = 8
"""What a value of any column takes in the panel, whatever it took in the stream (a column of nulls takes nothing)."""


class StreamSize(NamedTuple):
    """Rows of all batches, and what all buffers take decoded."""

    n_rows: int
    n_bytes: int


def stream_size(source: bytes | Path) -> StreamSize:
    """Read the size of a stream.

    Raises
    ------
    MalformedBody
        A header says what cannot be.
    TableTooLarge
        The stream has more than `MAX_MESSAGES` messages.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        try:
            return _sum(file)
        except (struct.error, IndexError, OverflowError, ValueError):
            raise MalformedBody("the body is not an Arrow IPC stream: a header cannot be read", field="body") from None


def _sum(file: BinaryIO) -> StreamSize:
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    n_rows = n_bytes = 0
    for _ in range(MAX_MESSAGES):
        size = _metadata_bytes(file)
        if size == 0:
            return StreamSize(n_rows, n_bytes)
        if not 0 < size <= MAX_METADATA_BYTES:
            raise ValueError(size)
        message = _Table.root(file.read(size))
        body, kind = file.tell(), message.byte(1)
        length = message.long(3)
        if length < 0 or body + length > end:
            raise ValueError(length)
        header = message.table(2)
        if kind == _DICTIONARY_BATCH and header is not None:
            header = header.table(1)
        if kind in (_DICTIONARY_BATCH, _RECORD_BATCH) and header is not None:
            rows, decoded = _batch(header, file, body, length)
            n_rows += rows if kind == _RECORD_BATCH else 0
            n_bytes += decoded
        file.seek(body + length)
    raise TableTooLarge(f"the Arrow stream has more than {MAX_MESSAGES:,} batches; write fewer, larger ones")


def _metadata_bytes(file: BinaryIO) -> int:
    """Read a message's prefix; 0 at the end. Before Arrow 0.15 there was no continuation mark."""
    first = file.read(4)
    if len(first) < 4:
        return 0
    size: int = struct.unpack("<I", first)[0]
    if size == CONTINUATION:
        size = struct.unpack("<I", file.read(4))[0]
    return size


def _batch(batch: _Table, file: BinaryIO, body: int, length: int) -> tuple[int, int]:
    rows = batch.long(0)
    n_columns = batch.vector_length(1)
    if rows < 0:
        raise ValueError(rows)
    compressed = batch.table(3) is not None
    total = 0
    for offset, size in batch.pairs(2):
        if size < 0 or offset < 0 or offset + size > length:
            raise ValueError(size)
        if compressed and size >= 8:
            file.seek(body + offset)
            decoded: int = struct.unpack("<q", file.read(8))[0]
            if decoded < -1:
                raise ValueError(decoded)
            total += size - 8 if decoded == -1 else decoded
        else:
            total += size
    return rows, max(total, rows * n_columns * _PER_VALUE)


class _Table:
    """A table of a flatbuffer: fields by number, each optional."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - self._int(at)
        self._vtable_bytes: int = struct.unpack_from("<H", data, self._vtable)[0]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _int(self, at: int) -> int:
        if at < 0:
            raise ValueError(at)
        value: int = struct.unpack_from("<i", self._data, at)[0]
        return value

    def _field(self, number: int) -> int | None:
        slot = 4 + 2 * number
        if slot + 2 > self._vtable_bytes or self._vtable < 0:
            return None
        offset: int = struct.unpack_from("<H", self._data, self._vtable + slot)[0]
        return self._at + offset if offset else None

    def byte(self, number: int) -> int:
        at = self._field(number)
        return 0 if at is None else self._data[at]

    def long(self, number: int) -> int:
        at = self._field(number)
        value: int = 0 if at is None else struct.unpack_from("<q", self._data, at)[0]
        return value

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return None if at is None else _Table(self._data, at + self._int(at))

    def _vector(self, number: int) -> tuple[int, int]:
        at = self._field(number)
        if at is None:
            return 0, 0
        start = at + self._int(at)
        return start + 4, self._int(start)

    def vector_length(self, number: int) -> int:
        return self._vector(number)[1]

    def pairs(self, number: int) -> list[tuple[int, int]]:
        """Read a vector of structs of two int64: the buffers' offsets and lengths."""
        start, count = self._vector(number)
        if count < 0 or start + 16 * count > len(self._data):
            raise ValueError(count)
        return [struct.unpack_from("<qq", self._data, start + 16 * i) for i in range(count)]
