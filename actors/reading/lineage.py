"""Which older versions of a model have a history that its newest version still has."""

from __future__ import annotations

from contracts.errors import UnknownModel
from store import ModelStore, Version

CONTINUES = "continues"
"""In a manifest's meta: the version whose days a correction went on from."""


def version_before(store: ModelStore, head: Version, date: str) -> Version | None:
    """Give the longest kept version that ends before a date and whose days the newest version has unchanged.

    Versions from `since` on differ by added days only. What a correction went on from is part of the history too, and
    so are the versions before it, back to its own `since`.
    """
    model_id, until = head.manifest.model_id, head
    while True:
        for number in range(until.manifest.version, until.manifest.since - 1, -1):
            try:
                found = until if number == until.manifest.version else store.version(model_id, number)
            except UnknownModel:
                return None
            if found.manifest.blocks and found.manifest.blocks[-1].last_date < date:
                return found
        continues = until.manifest.meta.get(CONTINUES)
        if continues is None:
            return None
        try:
            until = store.version(model_id, int(continues))
        except UnknownModel:
            return None
