"""The place of the store that the settings name: a folder, or an object store with this node's copy of it."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from contracts.errors import Unavailable
from contracts.settings import Settings
from store.bucket import Bucket
from store.commit import Commit, FolderCommit
from store.objects import ObjectCommit
from store.poll import Polling, is_fresh, last_polled, poll

_POLLING: list[Polling] = []
_log = logging.getLogger(__name__)


def store_place(current: Settings) -> Commit:
    """Open the store's place; of an object store once in a process, which then follows its heads.

    Raises
    ------
    Unavailable
        The object store cannot be reached, and this node has no copy of it yet.
    """
    if current.store_uri is None:
        return FolderCommit(current.store_path)
    return _opened(current.store_uri, current.store_path, current.store_poll_s, current.store_cache_mb)


@lru_cache(maxsize=8)
def _opened(uri: str, root: Path, poll_s: float, cache_mb: int) -> ObjectCommit:
    found = ObjectCommit(Bucket(uri), root, poll_s, cache_mb << 20)
    if not is_fresh(found):
        try:
            poll(found)
        except Unavailable as error:
            if last_polled(root) is None:
                raise
            _log.warning("what this node has of the store is used: %s", error)
    polling = Polling(found)
    polling.start()
    _POLLING.append(polling)
    return found


def close() -> None:
    """Stop following object stores: a process that goes on, such as one of tests, opens them anew."""
    while _POLLING:
        _POLLING.pop().stop()
    _opened.cache_clear()
