"""Where the NATS server listens and how to log in: private files in the run directory, or the operator's settings."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from contracts.files import replacing
from contracts.nkey import NKey, read_credentials
from contracts.settings import Settings, without_login

RESTART_FILE = "restart-wanted"


class NatsAccess(NamedTuple):
    """One way to reach NATS. Its text form shows no secret.

    Parameters
    ----------
    url
        One or more servers, with commas between; ``tls://`` insists on TLS.
    user, password
        A log-in by name.
    token
        A log-in by one secret.
    nkey_file, creds_file
        A file with the seed of an nkey, or with a JWT and a seed, as ``nsc`` writes it.
    ca_file, cert_file, key_file
        The authority that the server's certificate must be of; the certificate and key that we show.
    inbox
        What the subjects of replies begin with; default: NATS's own ``_INBOX``.
    """

    url: str
    user: str | None = None
    password: str | None = None
    token: str | None = None
    nkey_file: str | None = None
    creds_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    inbox: str | None = None

    def options(self) -> dict[str, Any]:
        """Give the keyword arguments of nats-py's ``connect``; see also `introduce`."""
        out: dict[str, Any] = {"servers": [part.strip() for part in self.url.split(",")]}
        if self.user is not None:
            out |= {"user": self.user, "password": self.password}
        if self.token is not None:
            out["token"] = self.token
        if self.creds_file is not None:
            kept = read_credentials(Path(self.creds_file))
            out |= {"user_jwt_cb": kept.jwt.encode, "signature_cb": NKey(kept.seed).sign}
        if self.nkey_file is not None:
            out["signature_cb"] = self._nkey().sign
        if self.secured:
            out["tls"] = self._tls()
        if self.inbox is not None:
            out["inbox_prefix"] = self.inbox
        return out

    def introduce(self, client: Any) -> None:
        """Tell a nats-py client, before it connects, what its options have no word for.

        The public half of an nkey; and that nothing secret may go to a server that offers no TLS when we insist on it:
        nats-py does without when the server says so, as anybody between the two could.
        """
        if self.nkey_file is not None:
            client._public_nkey = self._nkey().public  # noqa: SLF001  # by its options it needs one more library
        if not self.secured:
            return
        write = client._connect_command  # noqa: SLF001

        def only_over_tls() -> bytes:
            if not client._server_info.get("tls_required"):  # noqa: SLF001
                raise ConnectionError("the NATS server offers no TLS, and settings ask for it; it was told nothing")
            command: bytes = write()
            return command

        client._connect_command = only_over_tls  # noqa: SLF001

    @property
    def secured(self) -> bool:
        """Whether TLS is insisted on."""
        return self.ca_file is not None or self.cert_file is not None or "tls://" in self.url

    @property
    def secret(self) -> bool:
        """Whether it holds something that nobody else may see."""
        return self.password is not None or self.token is not None or self.public_url != self.url

    @property
    def public_url(self) -> str:
        """The URL without credentials."""
        return without_login(self.url)

    def _nkey(self) -> NKey:
        return NKey(Path(str(self.nkey_file)).read_text())

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def __repr__(self) -> str:
        return f"NatsAccess({self.public_url})"

    def __str__(self) -> str:
        return repr(self)


def access_path(run_dir: Path, role: str | None = None) -> Path:
    """The file that the embedded server's access is kept in (mode 0600): the engine's own, or a peer role's."""
    folder = run_dir / "nats"
    return folder / "access.json" if role is None else folder / "peers" / f"{role}.json"


def external_path(run_dir: Path) -> Path:
    """The file (0600) by which processes of the engine know how to log in to the operator's server."""
    return run_dir / "nats" / "external.json"


def write_access(run_dir: Path, access: NatsAccess, role: str | None = None) -> None:
    """Put the access where every process of this run finds it, readable by its owner only."""
    _write(access_path(run_dir, role), access)


def _write(path: Path, access: NatsAccess) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path, private=True) as out:
        given = {name: value for name, value in access._asdict().items() if value is not None}
        out.write(json.dumps(given).encode())


def _read(path: Path) -> NatsAccess | None:
    try:
        return NatsAccess(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def read_access(run_dir: Path, role: str | None = None) -> NatsAccess | None:
    """Read what `write_access` wrote; None when no embedded server was ever started here."""
    return _read(access_path(run_dir, role))


def nats_access(current: Settings) -> NatsAccess | None:
    """Give the external server that the settings name, else the embedded server of the run directory, else None."""
    if not current.nats_url:
        return read_access(current.run_dir)
    given = _given(current)
    kept = None if given.secret else _read(external_path(current.run_dir))
    return kept if kept is not None and kept.public_url == given.url else given


def _given(current: Settings) -> NatsAccess:
    def text(value: Any) -> str | None:
        return None if value is None else str(value)

    return NatsAccess(
        str(current.nats_url),
        current.nats_user,
        current.nats_password.get_secret_value() if current.nats_password is not None else None,
        current.nats_token.get_secret_value() if current.nats_token is not None else None,
        text(current.nats_nkey_file),
        text(current.nats_creds_file),
        text(current.nats_ca_file),
        text(current.nats_cert_file),
        text(current.nats_key_file),
        current.nats_inbox,
    )


def keep_external(current: Settings, *, forget: bool = False) -> None:
    """Put the log-in of the operator's server where processes of the engine find it, as no environment shows it.

    `forget` is for who knows all that the operator set: what was kept of an earlier log-in is removed.
    """
    if current.nats_url and _given(current).secret:
        _write(external_path(current.run_dir), _given(current))
    elif forget:
        external_path(current.run_dir).unlink(missing_ok=True)


def want_restart(run_dir: Path) -> None:
    """Ask whoever keeps the embedded server to start it again."""
    (run_dir / "nats" / RESTART_FILE).touch()


def restart_wanted(run_dir: Path, *, take: bool) -> bool:
    """Say whether a restart was asked for; `take` makes it asked for no more."""
    path = run_dir / "nats" / RESTART_FILE
    if not path.exists():
        return False
    if take:
        path.unlink(missing_ok=True)
    return True
