"""Write `deploy/nats/nats.conf`, for a server of its own, from the roles: ``python -m engine.nats_deployed``."""

from __future__ import annotations

from pathlib import Path

from engine.nats_roles import Role, roles
from engine.nats_server import MAX_PAYLOAD, SYNC_INTERVAL

PAGE = Path(__file__).parent.parent / "deploy/nats/nats.conf"
HEAD = f"""\
# Written by `python -m engine.nats_deployed` from engine/nats_roles.py; a test compares.
# Passwords come from the server's environment; TLS is asked of everybody.
server_name: "factor-engine"
port: 4222
max_payload: {MAX_PAYLOAD}
jetstream {{
  store_dir: "/data/jetstream"
  max_memory_store: 268435456
  max_file_store: 10737418240
  sync_interval: "{SYNC_INTERVAL}"
}}
tls {{
  cert_file: "/etc/nats/certificates/nats.pem"
  key_file: "/etc/nats/certificates/nats-key.pem"
  ca_file: "/etc/nats/certificates/ca.pem"
}}
"""


def text() -> str:
    """Give the configuration."""
    engine = '    {user: "engine", password: $NATS_ENGINE_PASSWORD}'
    return HEAD + "authorization {\n  users = [\n" + ",\n".join([engine, *map(_user, roles())]) + "\n  ]\n}\n"


def _user(role: Role) -> str:
    """Give a role as a user; a variable in quotes would be taken for the password itself."""
    variable = f"$NATS_{role.name.upper()}_PASSWORD"
    return "    " + role.config("").replace('"password": ""', f'"password": {variable}')


if __name__ == "__main__":
    PAGE.write_text(text())
