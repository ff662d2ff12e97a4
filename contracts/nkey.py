"""Log-in to NATS by an nkey: an Ed25519 key pair whose seed never leaves this machine.

Written as in NATS's ADR-14: base32 of prefix, key and CRC-16. The signature is ``cryptography``'s.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import NamedTuple

from contracts.errors import InvalidInput

_SEED = 18 << 3
_KEY_BYTES = 32
_PARTS = {"jwt": "NATS USER JWT", "seed": "USER NKEY SEED"}


class NKey:
    """One key pair.

    Parameters
    ----------
    seed
        As ``nsc`` and ``nk`` write it: ``S``, the kind (``U`` for a user), base32.

    Raises
    ------
    InvalidInput
        It is no seed; never says what it was.
    """

    def __init__(self, seed: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        kind, key = _decoded(seed)
        self._private = Ed25519PrivateKey.from_private_bytes(key)
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = encoded(bytes([kind]) + public)

    def sign(self, text: str) -> bytes:
        """Sign what the server challenges with; base64 as nats-py sends it."""
        return base64.b64encode(self._private.sign(text.encode()))


def encoded(body: bytes) -> str:
    """Write prefix and key as text, with its checksum."""
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")


def _decoded(seed: str) -> tuple[int, bytes]:
    text = seed.strip()
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    body = raw[:-2]
    # Written again, as the last letter has two bits beyond the checksum.
    if len(body) != _KEY_BYTES + 2 or body[0] & 0xF8 != _SEED or encoded(body) != text:
        raise InvalidInput("this is no seed of an nkey", field="nkey")
    return (body[0] & 7) << 5 | body[1] >> 3, body[2:]


class Credentials(NamedTuple):
    """What a ``.creds`` file holds: who one is, signed by the account, and the seed that proves it."""

    jwt: str
    seed: str


def read_credentials(path: Path) -> Credentials:
    """Read a ``.creds`` file.

    Raises
    ------
    InvalidInput
        A part is missing.
    """
    lines = [line.strip() for line in path.read_text().splitlines()]
    found = {}
    for name, title in _PARTS.items():
        begin = next((number for number, line in enumerate(lines) if f"BEGIN {title}" in line), None)
        if begin is None or begin + 1 >= len(lines) or not lines[begin + 1]:
            raise InvalidInput(f"{path.name} has no part {title}", field="creds")
        found[name] = lines[begin + 1]
    return Credentials(**found)
