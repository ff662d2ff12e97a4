"""Bearer tokens of the HTTP face: what each may do and how often, kept as hashes in a private file.

A token is 256 random bits, so its SHA-256 alone can stand in a file: nobody guesses what it was made of. It is shown
once, when it is made.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.errors import InvalidInput, Unavailable
from contracts.files import replacing
from contracts.settings import Settings

PREFIX = "fe_"
HASHED = "sha256-"
SHORTEST = 32
"""Characters of a token that an operator makes up: what is hashed once must not be guessable."""
PER_SECOND = 1000.0
MAX_TOKENS = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Scope(enum.IntEnum):
    """What a caller may do; each includes those before it."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    @staticmethod
    def parse(text: str) -> Scope:
        """Read a scope's name."""
        try:
            found = Scope[text.upper()]
        except KeyError:
            found = Scope.NONE
        if found is Scope.NONE:
            raise InvalidInput(f"a scope is read, write or admin, was {text!r}", field="scope")
        return found


@dataclass(frozen=True, slots=True)
class Token:
    """One caller.

    Parameters
    ----------
    name
        Shown in audit lines and lists.
    scope
        What it may do.
    digest
        SHA-256 of the token, hexadecimal.
    per_second
        Requests it may make, on average; the double of it at once.
    """

    name: str
    scope: Scope
    digest: str
    per_second: float = PER_SECOND

    def __post_init__(self) -> None:
        """Check what a person may have written."""
        if _NAME.fullmatch(self.name) is None:
            raise InvalidInput(
                "a token's name has up to 64 letters, digits, '-', '_' and '.', the first a letter or digit",
                field="name",
            )
        if re.fullmatch(r"[0-9a-f]{64}", self.digest) is None:
            raise InvalidInput(f"the hash of token {self.name} is no SHA-256", field="digest")
        if not 0 < self.per_second <= 1e6:
            raise InvalidInput("a rate is above 0 and at most 1e6 requests per second", field="per_second")


def digest_of(secret: bytes) -> str:
    """Give what is kept of a token."""
    return hashlib.sha256(secret).hexdigest()


def token_file(current: Settings) -> Path:
    """Where the tokens are kept."""
    return (current.token_file or current.run_dir / "tokens.json").resolve()


def read_tokens(path: Path) -> tuple[Token, ...] | None:
    """Read the token file; None when there is none.

    Raises
    ------
    Unavailable
        Others than its owner may read or write it, it is another user's, or it is not a token file.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & 0o077:
                mode = stat.S_IMODE(found.st_mode)
                raise Unavailable(f"{path.name} is not private (mode {mode:04o}): chmod 600 it, and make new tokens")
            if found.st_uid not in (os.geteuid(), 0):
                raise Unavailable(f"{path.name} belongs to another user")
            return _rows(json.load(file)["tokens"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, InvalidInput) as error:
        raise Unavailable(f"{path.name} is not a token file: {error}") from None


def _rows(rows: Iterable[dict[str, str]]) -> tuple[Token, ...]:
    made = tuple(Token(row["name"], Scope.parse(row["scope"]), row["digest"], float(row["per_second"])) for row in rows)
    _require_distinct(made)
    return made


def _require_distinct(tokens: Sequence[Token]) -> None:
    names = [token.name for token in tokens]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"tokens have one name each; twice there is {', '.join(twice)}", field="name")
    owner: dict[str, str] = {}
    for token in tokens:
        other = owner.setdefault(token.digest, token.name)
        if other != token.name:  # which scope it has would be a matter of their order
            raise InvalidInput(f"tokens {other} and {token.name} are one secret", field="tokens")


def write_tokens(path: Path, tokens: Sequence[Token]) -> None:
    """Put the tokens' hashes in place, readable by their owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows = [{**asdict(token), "scope": token.scope.name.lower()} for token in tokens]
    with replacing(path, durable=True, private=True) as out:
        out.write(json.dumps({"tokens": rows}, indent=1).encode())


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Change a token file while nobody else does: of two at once one would undo the other, a removal too."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def add_token(path: Path, name: str, scope: Scope, per_second: float = PER_SECOND) -> str:
    """Make a token and keep its hash; gives the token, which nobody can be told again."""
    with _alone(path):
        known = read_tokens(path) or ()
        if any(token.name == name for token in known):
            raise InvalidInput(f"there is a token {name} already; remove it first", field="name")
        if len(known) >= MAX_TOKENS:
            raise InvalidInput(f"there are {MAX_TOKENS} tokens already", field="name")
        secret = PREFIX + secrets.token_urlsafe(32)
        write_tokens(path, [*known, Token(name, scope, digest_of(secret.encode()), per_second)])
    return secret


def remove_token(path: Path, name: str) -> tuple[Token, ...]:
    """Forget a token; gives those that are left. The file stays, so that nothing is open to all because of it."""
    with _alone(path):
        known = read_tokens(path) or ()
        left = tuple(token for token in known if token.name != name)
        if len(left) == len(known):
            names = ", ".join(token.name for token in known)
            raise InvalidInput(f"there is no token {name}; there are: {names or 'none'}", field="name")
        write_tokens(path, left)
    return left


def of_environment(text: str) -> tuple[Token, ...]:
    """Read ``name:scope:token[:requests per second]``, with commas between; a token may be ``sha256-<hex>``."""
    out = []
    for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        fields = part.split(":")
        if len(fields) not in (3, 4):
            raise InvalidInput(f"row {number} of FACTOR_ENGINE_TOKENS is not name:scope:token", field="tokens")
        name, scope, secret = fields[:3]
        if not secret.startswith(HASHED) and len(secret) < SHORTEST:
            raise InvalidInput(f"token {name[:64]!r} has fewer than {SHORTEST} characters", field="tokens")
        digest = secret.removeprefix(HASHED) if secret.startswith(HASHED) else digest_of(secret.encode())
        try:
            per_second = float(fields[3]) if len(fields) == 4 else PER_SECOND
        except ValueError:
            raise InvalidInput(f"the rate of token {name[:64]!r} is no number", field="tokens") from None
        out.append(Token(name, Scope.parse(scope), digest, per_second))
    _require_distinct(out)
    return tuple(out)


def to_environment(tokens: Iterable[Token]) -> str:
    """Give rows that `of_environment` reads, without the secrets."""
    return ",".join(f"{t.name}:{t.scope.name.lower()}:{HASHED}{t.digest}:{t.per_second:g}" for t in tokens)


def known_tokens(current: Settings) -> tuple[Token, ...] | None:
    """Give the tokens of the file and of the environment; None when neither is there.

    Raises
    ------
    Unavailable, InvalidInput
        They cannot be read: nobody can be let in by them.
    """
    kept = read_tokens(token_file(current))
    given = of_environment(current.tokens.get_secret_value()) if current.tokens is not None else None
    if kept is None and given is None:
        return None
    made = (*(kept or ()), *(given or ()))
    _require_distinct(made)
    return made


def on_loopback(host: str) -> bool:
    """Say whether an address is one that only this machine reaches."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
