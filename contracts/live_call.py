"""What travels between the bridge and the actor that holds the running days: market data there, values back.

Tuples of bytes, pickled: one call carries all that came while the one before it was in flight, and neither side
unpacks what it only passes on.
"""

from __future__ import annotations

import pickle
from typing import NamedTuple

PROTOCOL = 5
TOO_LARGE = "factor-too-large"
"""The header of a value that is over the server's largest message, which goes out without its body."""


class MarketData(NamedTuple):
    """Messages of the market's journal, in its order.

    Attributes
    ----------
    stream : str
        Names the journal: another one begins at 1 again.
    first : int
        The place of the first message in the journal. 0: there are none, and the call is for values that are due.
    last : int
        The place of the last one.
    messages : list of (subject, body, content type or None; of the end of a day its place)
        Those that are passed on; a place between that is not here was none of ours, or a newer one took its place.
    replayed : bool
        Whether more of the past follows: values are computed when the present is reached.
    """

    stream: str
    first: int
    last: int
    messages: list[tuple[str, bytes, str | None]]
    replayed: bool = False


class WatchValue(NamedTuple):
    """One message of a watch, as it is published.

    Attributes
    ----------
    headers : dict
        What a reader needs to know before the body: sequence, times, share of the names seen.
    """

    watch_id: str
    sequence: int
    headers: dict[str, str]
    body: bytes


class Told(NamedTuple):
    """What is to be put into a stream: the end of a day, its bar, a correction.

    Attributes
    ----------
    message_id : str
        The stream takes it once.
    """

    subject: str
    message_id: str
    headers: dict[str, str]
    body: bytes


class Answered(NamedTuple):
    """What the actor says to market data.

    Attributes
    ----------
    taken : int
        The place in the journal up to which the state has everything.
    again_from : int or None
        The state misses what came before these messages (the actor began anew, for one): the journal is to be read
        again from this place; 0: from where the running day may begin.
    values : list of WatchValue
        Of the watches that are due.
    again_in_s : float or None
        When values that are held back by a watch's rate become due; None: nothing waits.
    watches : dict of str to float
        Every watch, with the seconds after which it ends unheard.
    busy_s : float
        What the call took in the actor.
    models : tuple of str
        Those whose day runs here.
    told : tuple of Told
        To be put into their streams; what does not arrive there is told again.
    hold_s : float
        So long no market data gives values, by the watches' rates: what comes may wait and be handed on together.
    line : str
        Where the actor listens for the bridge of its machine; see `contracts.live_line`. Empty: it is called by Ray.
    """

    taken: int
    again_from: int | None
    values: list[WatchValue]
    again_in_s: float | None
    watches: dict[str, float]
    busy_s: float
    models: tuple[str, ...] = ()
    told: tuple[Told, ...] = ()
    hold_s: float = 0.0
    line: str = ""


def pack(value: MarketData | Answered) -> bytes:
    """Pack, as plain tuples."""
    if isinstance(value, Answered):
        value = value._replace(values=[tuple(v) for v in value.values], told=tuple(tuple(t) for t in value.told))  # type: ignore[misc]
    return pickle.dumps(tuple(value), PROTOCOL)


def unpack_data(packed: bytes | bytearray) -> MarketData:
    """Unpack what the bridge sent."""
    return MarketData(*pickle.loads(packed))  # noqa: S301  (from our own process)


def unpack_answer(packed: bytes) -> Answered:
    """Unpack what the actor answered."""
    answer = Answered(*pickle.loads(packed))  # noqa: S301  (from our own process)
    return answer._replace(values=[WatchValue(*v) for v in answer.values], told=tuple(Told(*t) for t in answer.told))
