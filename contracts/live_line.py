"""The line between the bridge and the actor that holds the running days: a socket of their own, on one machine.

A Ray call takes 1 ms to and fro, and an answer above 100 KB passes Ray's object store; a frame on a socket takes a
tenth of it. The socket's folder is the user's alone. A frame is its length, eight bytes, and as many bytes: a
`MarketData` to the actor, an `Answered` back. An empty frame from the actor says: call, though no market data came.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from contracts.live_call import PROTOCOL, Answered, MarketData, WatchValue

LENGTH = struct.Struct("<Q")
NEWS = LENGTH.pack(0)
PATH_MOST = 100
"""Characters of a socket's path that every system takes."""
FRAME_MOST = 2**30


def frame_of(data: MarketData) -> bytes:
    """Make the frame of a call."""
    packed = pickle.dumps(tuple(data), PROTOCOL)
    return LENGTH.pack(len(packed)) + packed


def answer_frame(answer: Answered) -> list[bytes]:
    """Make the frame of an answer, in parts: what is told first, then the bodies as they are, which nobody copies."""
    values = [(v.watch_id, v.sequence, v.headers, len(v.body)) for v in answer.values]
    told = pickle.dumps(tuple(answer._replace(values=values)), PROTOCOL)  # type: ignore[arg-type]
    bodies = [value.body for value in answer.values]
    size = LENGTH.size + len(told) + sum(len(body) for body in bodies)
    return [LENGTH.pack(size), LENGTH.pack(len(told)), told, *bodies]


def read_answer(frame: Sequence[int] | bytes | bytearray) -> Answered:
    """Read the frame of an answer, without its length; the bodies are views of it."""
    whole = memoryview(frame)  # type: ignore[arg-type]
    at = LENGTH.size
    (size,) = LENGTH.unpack(whole[:at])
    answer = Answered(*pickle.loads(whole[at : at + size]))  # noqa: S301  (from our own process)
    at += size
    values = []
    for watch_id, sequence, headers, length in answer.values:
        values.append(WatchValue(watch_id, sequence, headers, whole[at : at + length]))  # type: ignore[arg-type]
        at += length
    return answer._replace(values=values)


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give a socket's path as the system takes it: long ones go by way of an open folder, where the system has that.

    Raises
    ------
    OSError
        The folder is not there, or the path is too long.
    """
    if len(os.fsencode(path)) <= PATH_MOST:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise OSError(f"the path of {path.name} is too long for a socket")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
