"""Who may say what on the embedded NATS server: the engine, a peer of each kind, and the feed of market data.

A peer asks on the subjects of its own group, plainly or durably, and hears events and its own replies. Nobody but the
engine publishes events or uses JetStream's own subjects. A role's inbox has a name of its own: one inbox for all would
let each peer hear the others' replies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from bus.subjects import INBOUND_PREFIX, groups

FEED = "feed"
SERVICE = ("$SRV.PING", "$SRV.PING.>", "$SRV.INFO", "$SRV.INFO.>", "$SRV.STATS", "$SRV.STATS.>")


@dataclass(frozen=True)
class Role:
    """What a user of the server may do; what is not listed is refused.

    Parameters
    ----------
    name
        The user's name.
    publish, subscribe
        Subjects that it may publish on, and subscribe to.
    not_subscribe
        Subjects among those that it may not subscribe to.
    """

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    not_subscribe: tuple[str, ...] = ()

    @property
    def inbox(self) -> str:
        """What the subjects of replies to it begin with."""
        return f"_INBOX_{self.name}"

    def config(self, password: str) -> str:
        """Give the user as nats-server's configuration has it."""
        permissions = {
            "publish": {"allow": list(self.publish)},
            "subscribe": {"allow": [*self.subscribe, f"{self.inbox}.>"], "deny": list(self.not_subscribe)},
        }
        return json.dumps({"user": self.name, "password": password, "permissions": permissions})


def roles() -> tuple[Role, ...]:
    """List the roles beside the engine's own: the peer engines, and the feed."""
    asks: dict[str, list[str]] = {}
    for group, engine in groups().items():
        asks.setdefault(engine, []).append(group)
    peers = (
        Role(
            engine,
            tuple(f"{prefix}{group}.*" for group in own for prefix in ("", INBOUND_PREFIX)) + SERVICE,
            ("factor.>",),
            # What others ask durably has their books in it.
            (f"{INBOUND_PREFIX}>",),
        )
        for engine, own in asks.items()
    )
    return (*peers, Role(FEED, ("market_data.>",), ()))


def users(passwords: Iterable[tuple[Role, str]]) -> str:
    """Give the users of these roles for the server's configuration, each behind a comma."""
    return "".join(f",\n  {role.config(password)}" for role, password in passwords)
