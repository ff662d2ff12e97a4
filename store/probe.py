"""Whether an object store holds the conditions that commits rest on; one that ignores them would lose versions."""

from __future__ import annotations

from contracts.errors import Unavailable
from contracts.work import new_id
from store.bucket import Bucket, Refused

FOLDER = "probe/"


def probe(bucket: Bucket) -> None:
    """Put a small object under every condition that a commit uses, and remove it.

    Raises
    ------
    Unavailable
        The store does what it was asked not to do, refuses what holds, or cannot be reached.
    """
    key = f"{FOLDER}{new_id()}"
    try:
        first = _put(bucket, key, b"1", None, "a create")
        if not _refuses(bucket, key, b"2", None):
            raise Unavailable(_said(bucket, "puts a second object where it was to create one"))
        second = _put(bucket, key, b"3", first, "a put in place of the state that there is")
        if not _refuses(bucket, key, b"4", first):
            raise Unavailable(_said(bucket, "puts an object in place of a state that is gone"))
        if second["e_tag"] == first["e_tag"]:
            raise Unavailable(_said(bucket, "gives two contents one e-tag"))
        found = bucket.get(key)
        if found is None or found.content != b"3":
            raise Unavailable(_said(bucket, "does not give back what was put last"))
    finally:
        bucket.delete([key])


def _put(bucket: Bucket, key: str, content: bytes, expected: object, what: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    try:
        return bucket.put_if(key, content, expected)  # type: ignore[arg-type]
    except Refused:
        raise Unavailable(_said(bucket, f"refuses {what}")) from None


def _refuses(bucket: Bucket, key: str, content: bytes, expected: object) -> bool:
    try:
        bucket.put_if(key, content, expected)  # type: ignore[arg-type]
    except Refused:
        return True
    return False


def _said(bucket: Bucket, what: str) -> str:
    return (
        f"the store {bucket.uri} {what}: commits need conditional puts (If-None-Match and If-Match), "
        "so it cannot hold models"
    )
