"""What is wrong with the text of a CSV, as far as its values do not matter.

`factors/panel/csv_text.py` is the same: neither room imports the other, and a CSV has the same faults by every way in.
"""

from __future__ import annotations

import csv

NOT_UTF8 = (b"\xff\xfe", b"\xfe\xff")
BOM = b"\xef\xbb\xbf"
OTHER_SEPARATORS = (b";", b"\t", b"|")


def fault_of_csv(content: bytes) -> str | None:
    """Say what is wrong with a CSV of a head and lines, or give None.

    Its columns are separated by something else than commas, one is there twice or has no name (but for row numbers in
    front, as pandas writes them), or a line has not as many values as the head.
    """
    if content.startswith(NOT_UTF8):
        return "it is written as UTF-16, not as UTF-8"
    head = content.partition(b"\n")[0].removeprefix(BOM).rstrip(b"\r")
    if b"," not in head:
        other = next((sign.decode() for sign in OTHER_SEPARATORS if sign in head), None)
        if other is not None:
            return f"its columns are separated by {other!r}: a CSV has commas between them, and points in its numbers"
    names = next(csv.reader([head.decode(errors="replace")]), [])
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        return f"it has the column {twice!r} twice"
    if "" in names[1:]:
        return f"its column {names.index('') + 1} has no name"
    wanted, n_lines = head.count(b","), content.count(b"\n") + (not content.endswith(b"\n"))
    if b'"' in content or content.count(b",") == wanted * n_lines:
        return None
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip() and line.count(b",") != wanted:
            return f"its line {number} has {line.count(b',') + 1} values, and its head has {wanted + 1}"
    return None
