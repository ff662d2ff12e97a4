"""The bridge's end of the line to the actor that holds the running days; see `contracts.live_line`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

from contracts.errors import Unavailable
from contracts.live_call import Answered, MarketData
from contracts.live_line import FRAME_MOST, LENGTH, frame_of, reachable, read_answer

BUFFER_BYTES = 4 * 2**20
CALL_S = 30.0


class Line(asyncio.BufferedProtocol):
    """A connection to the actor: one call at a time.

    Parameters
    ----------
    news : callable
        Called when the actor wants a call, and when the line ended.

    Attributes
    ----------
    ended : bool
        The actor went, or a call was broken off: the next one raises `Unavailable`.
    """

    def __init__(self, news: Callable[[], None]) -> None:
        self.ended = False
        self._news = news
        self._transport: asyncio.Transport | None = None
        self._head = bytearray(LENGTH.size)
        self._frame = self._head
        self._at = 0
        self._answer: asyncio.Future[bytearray] | None = None

    @classmethod
    async def to(cls, path: str, news: Callable[[], None]) -> Line:
        """Connect; raises `OSError` where there is no such line on this machine."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.setblocking(False)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
            loop = asyncio.get_running_loop()
            with reachable(Path(path)) as way:
                await loop.sock_connect(end, way)
            _, line = await loop.create_unix_connection(lambda: cls(news), sock=end)
        except BaseException:
            end.close()
            raise
        return line

    async def call(self, data: MarketData) -> Answered:
        """Hand market data on and give the answer.

        Raises
        ------
        Unavailable
            The actor is away; what was sent may have been taken.
        """
        if self.ended or self._transport is None:
            raise Unavailable("the actor of the running days went", retry_after_s=0.1)
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(frame_of(data))
            async with asyncio.timeout(CALL_S):
                return read_answer(await self._answer)
        except TimeoutError:
            raise Unavailable("the actor of the running days does not answer", retry_after_s=0.1) from None
        finally:
            if not self._answer.done() or self._answer.cancelled():
                self.close()  # its answer would be taken for that of the next call
            self._answer = None

    def close(self) -> None:
        """End the connection."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def get_buffer(self, _: int) -> memoryview:
        """Give the room that the frame has left."""
        return memoryview(self._frame)[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        self._at += nbytes
        if self._at < len(self._frame):
            return
        frame, self._at = self._frame, 0
        if frame is self._head:
            (size,) = LENGTH.unpack(frame)
            if size > FRAME_MOST:
                self.close()
            elif size:
                self._frame = bytearray(size)
            else:
                self._news()
            return
        self._frame = self._head
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(frame)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell whoever waits."""
        self.ended = True
        if self._answer is not None and not self._answer.done():
            gone = Unavailable("the actor of the running days went", retry_after_s=0.1)
            self._answer.set_exception(gone)
        self._news()
