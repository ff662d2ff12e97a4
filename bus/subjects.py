"""Which subjects there are: requests by group and name, events by template, streams by pattern.

Everything is made from the operation table; docs/subjects.md and docs/asyncapi.json are written from here.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from functools import lru_cache

from contracts.errors import UnknownOperation
from contracts.events import token, untoken
from contracts.operations import OPERATIONS, Operation, by_subject

QUEUE_GROUP = "factor-engine"
INBOUND_PREFIX = "factor.in."
BARS = "market_data.bar.*"
BAR_PREFIX = "market_data.bar."
CLOSE_PREFIX = "market_data.close."
TICK_PREFIX = "market_data.tick."
TICKS = "market_data.ticks"
LIVE_PREFIX = "factor.live."
HEALTH = "factor.health_metrics"
TEST = "factor.health_metrics.test"
REJECTED = "factor.rejected."
SUBJECT_MOST_BYTES = 2048
"""Of a subject that we publish on. A server ends the connection of who sends it a line of more than 4,096 bytes."""
REJECTED_MOST = 500
"""Characters of a rejected subject as one token; one of more is its beginning and its digest."""
REJECTED_HEAD = 80
ALIKE = 0.8
"""`difflib`'s ratio from which on a word is taken for another one misspelt: one letter in five."""
PROBES = "_factor_probe."
_SUBJECT = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")


@lru_cache(maxsize=1)
def named() -> dict[str, tuple[Operation, str]]:
    """Map each group whose last token may name a portfolio, model or symbol to its operation and that field."""
    found = {}
    for row in OPERATIONS.values():
        for template in row.named_subjects:
            group, _, field = template.rpartition(".")
            found[group] = (row, field.strip("{}"))
    return found


@lru_cache(maxsize=1)
def groups() -> dict[str, str]:
    """Map each request group (``risk.factor_request``) to the peer engine that it is for (``risk``)."""
    return {prefix: prefix.split(".")[0] for prefix in sorted({s.rpartition(".")[0] for s in by_subject()})}


@lru_cache(maxsize=1)
def _table() -> dict[str, Operation]:
    return by_subject()


def resolve(subject: str) -> tuple[Operation, dict[str, str]]:
    """Find the operation of a request subject, and the field that its last token names, if it does.

    Raises
    ------
    UnknownOperation
        No operation has this subject; the detail lists those of its group, or names the one that was meant.
    """
    operation = _table().get(subject)
    if operation is not None:
        return operation, {}
    group, _, last = subject.rpartition(".")
    meant = _meant(group, last)
    row, field = named().get(group, (None, ""))
    if meant is not None:
        how = f"; to name a {field} so, put it into the body" if row is not None else ""
        raise UnknownOperation(f"no operation answers {subject}; {meant} does{how}", field="subject")
    if row is not None:
        return row, {field: untoken(last)}
    known = ", ".join(sorted(s for s in _table() if s.startswith(group + ".")))
    raise UnknownOperation(
        f"no operation answers {subject}; there are: {known or ', '.join(groups())}", field="subject"
    )


@lru_cache(maxsize=4096)
def _meant(group: str, last: str) -> str | None:
    """Give the subject that was meant when the last token is nearly an operation of the group, or one of another's.

    A word that is misspelt must not be taken for a portfolio or a model of that name.
    """
    own = {subject.rpartition(".")[2]: subject for subject in _table() if subject.startswith(f"{group}.")}
    word = last.lower()
    close = difflib.get_close_matches(word, own, n=1, cutoff=ALIKE)
    # Of a short word a fifth is less than the two letters that were typed in the wrong order.
    close = close or [name for name in own if _swapped(word, name)]
    if close:
        return own[close[0]]
    if group not in groups():
        return None
    same = next((subject for subject in _table() if subject.rpartition(".")[2] == last), None)
    return same or _called(group, last)


def _called(group: str, word: str) -> str | None:
    """Give the way to the operation that is called so, whatever its subjects' last token: of this group, if it can be.

    `portfolio_attribution` is asked for on `portfolio.factor_exposure.attribution`; taken for a book, it would be
    answered with that book's exposures.
    """
    row = OPERATIONS.get(word)
    if row is None:
        return None
    own = [subject for subject in row.subjects if subject.startswith(f"{group}.")]
    return next(iter((*own, *row.subjects)), f"{row.routes[0].method} {row.routes[0].path}")


def _swapped(one: str, other: str) -> bool:
    """Say whether two words differ by two neighbouring letters in the wrong order."""
    if len(one) != len(other):
        return False
    apart = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return len(apart) == 2 and apart[1] == apart[0] + 1 and sorted(one) == sorted(other)


@lru_cache(maxsize=1)
def kept_subjects() -> tuple[str, ...]:
    """List what the subjects begin with that nobody's reply may go to.

    A reply is published by the engine, which may publish everything: whoever asks would choose what it publishes on.
    """
    return ("factor.", "market_data.", "$", PROBES, *(f"{group}." for group in groups()))


def may_reply(subject: str) -> bool:
    """Say whether a reply may go to this subject, which a caller wrote."""
    fits = len(subject.encode()) <= SUBJECT_MOST_BYTES
    return fits and _SUBJECT.fullmatch(subject) is not None and not subject.startswith(kept_subjects())


def rejected(subject: str) -> str:
    """Give the subject on which it is told that a durable message, that came on `subject`, cannot be computed.

    Whoever sent it chose its subject, and as one token it may be three times as long as any server takes.
    """
    plain = subject.removeprefix(INBOUND_PREFIX)
    whole = token(plain)
    if len(whole) > REJECTED_MOST:
        whole = f"{token(plain[:REJECTED_HEAD])}-{hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()}"
    return REJECTED + whole


def event_groups() -> tuple[str, ...]:
    """List the ``factor.<type>`` prefixes that results are published under."""
    return tuple(sorted({".".join(subject.split(".")[:2]) for row in OPERATIONS.values() for subject in row.events}))


def event_patterns() -> tuple[str, ...]:
    """List the subjects of the event stream; no request subject starts with `factor`."""
    # Not HEALTH: a message each second would be most of what a reader of the stream gets; a bucket has the newest.
    own = (TEST, f"{REJECTED}*")
    return (*(f"{group}.*" for group in event_groups()), *own)
