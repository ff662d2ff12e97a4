"""Parquet files written byte by byte: what no writer would make, and every reader has to take or refuse.

After the format's own description (github.com/apache/parquet-format): pages and a footer of Thrift's compact protocol.
Columns are required, so they have no levels; each row group has one chunk and one data page a column.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

DOUBLE, BYTE_ARRAY = 5, 6
PLAIN, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 0, 7, 8
_UTF8 = 0
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_MAGIC = b"PAR1"

# Types of Thrift's compact protocol.
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


@dataclass(frozen=True)
class Column:
    """A column: its name and type, and the body of its data page.

    Parameters
    ----------
    dictionary
        Its one value as PLAIN, where the page has indices into a dictionary.
    """

    name: str
    kind: int
    encoding: int
    page: bytes
    dictionary: bytes | None = None


def varint(number: int) -> bytes:
    """Write seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> bytes:
    """Write a signed number as a varint."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _struct(*fields: tuple[int, int, bytes]) -> bytes:
    """Write a structure from (field, type, value), in the order of their numbers."""
    out, last = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - last) << 4 | kind]) + value
        last = number
    return out + b"\0"


def _list(kind: int, values: list[bytes]) -> bytes:
    head = bytes([len(values) << 4 | kind]) if len(values) < 15 else bytes([0xF0 | kind]) + varint(len(values))
    return head + b"".join(values)


def _text(value: str) -> bytes:
    return varint(len(value)) + value.encode()


def constant(name: str, value: str | float, n_values: int) -> Column:
    """Make a column of one value, said once: a dictionary of it and one run of indices."""
    is_text = isinstance(value, str)
    plain = struct.pack("<i", len(value)) + value.encode() if is_text else struct.pack("<d", value)
    run = bytes([1]) + varint(n_values << 1) + b"\0"
    return Column(name, BYTE_ARRAY if is_text else DOUBLE, RLE_DICTIONARY, run, plain)


def growing(name: str, n_values: int) -> Column:
    """Make a column of texts, each the one before it and a letter more."""
    block, minis = 128, 4

    def deltas(first: int, step: int) -> bytes:
        head = varint(block) + varint(minis) + varint(n_values) + zigzag(first)
        # Every difference is the least one, so that the packed rest is of no bits.
        return head + (zigzag(step) + bytes(minis)) * -(-(n_values - 1) // block)

    page = deltas(0, 1) + deltas(1, 0) + b"x" * n_values
    return Column(name, BYTE_ARRAY, DELTA_BYTE_ARRAY, page)


def nested(depth: int, name: str = "a") -> bytes:
    """Write a file without rows whose one column lies so many structures deep."""
    required = (3, _I32, zigzag(0))
    root = _struct((4, _BINARY, _text("schema")), (5, _I32, zigzag(1)))
    inner = _struct(required, (4, _BINARY, _text(name)), (5, _I32, zigzag(1)))
    leaf = _struct((1, _I32, zigzag(DOUBLE)), required, (4, _BINARY, _text(name)))
    schema = [root, *([inner] * depth), leaf]
    footer = _struct(
        (1, _I32, zigzag(1)), (2, _LIST, _list(_STRUCT, schema)), (3, _I64, zigzag(0)), (4, _LIST, _list(_STRUCT, []))
    )
    return _MAGIC + footer + struct.pack("<i", len(footer)) + _MAGIC


def _page(kind: int, body: bytes, header: bytes) -> bytes:
    size = zigzag(len(body))
    field = 5 if kind == _DATA_PAGE else 7
    fields = ((1, _I32, zigzag(kind)), (2, _I32, size), (3, _I32, size), (field, _STRUCT, header))
    return _struct(*fields) + body


def parquet(columns: list[Column], n_values: int, *, told_rows: int | None = None, n_groups: int = 1) -> bytes:
    """Write a file.

    Parameters
    ----------
    columns
        The same in each group.
    n_values
        Values in each page.
    told_rows
        What the footer says that a group has; default: the truth.
    n_groups
        The groups, which are all the same bytes.
    """
    told = n_values if told_rows is None else told_rows
    out = bytearray(_MAGIC)
    chunks = []
    for column in columns:
        begin = len(out)
        offsets: tuple[tuple[int, int, bytes], ...] = ()
        if column.dictionary is not None:
            head = _struct((1, _I32, zigzag(1)), (2, _I32, zigzag(PLAIN)))
            out += _page(_DICTIONARY_PAGE, column.dictionary, head)
            offsets = ((11, _I64, zigzag(begin)),)
        data = len(out)
        head = _struct(
            (1, _I32, zigzag(n_values)), (2, _I32, zigzag(column.encoding)),
            (3, _I32, zigzag(3)), (4, _I32, zigzag(3)),
        )  # fmt: skip
        out += _page(_DATA_PAGE, column.page, head)
        size = zigzag(len(out) - begin)
        meta = _struct(
            (1, _I32, zigzag(column.kind)), (2, _LIST, _list(_I32, [zigzag(column.encoding)])),
            (3, _LIST, _list(_BINARY, [_text(column.name)])), (4, _I32, zigzag(0)), (5, _I64, zigzag(told)),
            (6, _I64, size), (7, _I64, size), (9, _I64, zigzag(data)), *offsets,
        )  # fmt: skip
        chunks.append(_struct((2, _I64, zigzag(begin)), (3, _STRUCT, meta)))
    root = _struct((4, _BINARY, _text("schema")), (5, _I32, zigzag(len(columns))))
    schema = [root]
    for column in columns:
        fields = [(1, _I32, zigzag(column.kind)), (3, _I32, zigzag(0)), (4, _BINARY, _text(column.name))]
        if column.kind == BYTE_ARRAY:
            fields.append((6, _I32, zigzag(_UTF8)))
        schema.append(_struct(*fields))
    group = _struct((1, _LIST, _list(_STRUCT, chunks)), (2, _I64, zigzag(len(out))), (3, _I64, zigzag(told)))
    footer = _struct(
        (1, _I32, zigzag(1)), (2, _LIST, _list(_STRUCT, schema)), (3, _I64, zigzag(told * n_groups)),
        (4, _LIST, _list(_STRUCT, [group] * n_groups)),
    )  # fmt: skip
    return bytes(out) + footer + struct.pack("<i", len(footer)) + _MAGIC
