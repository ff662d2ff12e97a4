"""A face, a bridge and a server at work, and then all that they wrote: no secret is in a log, page, event or file."""

import asyncio
import json
import logging
import secrets

import nats
import pytest
from fixtures_nats import ClientDouble, bridge_over, until
from starlette.testclient import TestClient

from bus.audit import Audit
from bus.face import Face
from bus.outbox import Outbox
from contracts.access import read_access
from contracts.settings import Settings
from contracts.tokens import Scope, add_token, token_file
from engine.nats_roles import roles
from web.app import make_app
from web.services import Services

OWN = {"nats/access.json", "nats/nats-server.conf", *(f"nats/peers/{role.name}.json" for role in roles())}
"""The private files that the secrets are for."""
PAGES = ("/health", "/metrics", "/performance-metrics", "/messagebus/status", "/live",
         "/api/v1/factor-engine/config", "/api/v1/factor-engine/status", "/nowhere")  # fmt: skip
BOOK = {"portfolio_weights": {"A": 1.0}}
DAY = {"model_id": "m", "feature_data": {"date": ["2020-01-01"], "symbol": ["A"], "asset_returns": [0.1]}}


async def knock(access, wrong):
    """Ask over NATS in a role, say what it may not, hand in what cannot be done, and try a wrong password."""

    async def quiet(_error):
        pass

    nc = await nats.connect(**access.options(), error_cb=quiet)
    await nc.request("risk.factor_request.factor_exposures", json.dumps(BOOK).encode(), timeout=30)
    await nc.publish("factor.risk_model.created", b"{}")
    await nc.jetstream().publish("factor.in.risk.factor_request.factor_exposures", b"{")
    await nc.close()
    refused = nats.NATS()  # nats.connect would leave the connection of a refused client open
    with pytest.raises(nats.errors.Error):
        await refused.connect(**access._replace(password=wrong).options(), error_cb=quiet, allow_reconnect=False)
    await refused.close()


def test_no_secret_is_in_what_a_run_writes_and_shows(own_server, caplog):
    current = Settings(run_dir=own_server.run_dir, tokens=f"ops:admin:{(given := secrets.token_urlsafe(32))}")
    made = add_token(token_file(current), "desk", Scope.WRITE)
    wrong = f"fe_{secrets.token_urlsafe(32)}"
    outbox = Outbox.of(current)
    services = Services(current, face=Face(ClientDouble(), outbox, audit=Audit.of(current)), client=ClientDouble())
    client = TestClient(make_app(services), base_url="http://127.0.0.1:8300")
    shown = []

    def ask(method, path, secret, **more):
        answer = client.request(method, path, headers={"authorization": f"Bearer {secret}"}, **more)
        shown.append(answer.text + str(answer.headers))
        return answer.status_code

    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge:
            await knock(read_access(own_server.run_dir, "risk"), wrong)
            await until(lambda: bridge.durable.rejected == 1, "the poison message was refused")
            shown.append(str(bridge.status()) + str(bridge.stats()))

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
        codes = {ask("GET", path, secret) for path in PAGES for secret in (made, given, wrong)}
        assert codes >= {200, 401, 404}
        for secret in (made, given):
            assert ask("POST", "/factor-exposures/calculate", secret, json=BOOK) == 200
            assert ask("POST", "/factor-model/m/append", secret, json=DAY) == 200
    outbox.close()

    kept = {"given token": given, "made token": made, "wrong token": wrong}
    kept |= {"the engine's password": own_server.access.password}
    kept |= {f"{role.name}'s password": read_access(own_server.run_dir, role.name).password for role in roles()}
    text = "\n".join(shown) + caplog.text
    assert [name for name, secret in kept.items() if secret in text] == []
    files = [p for p in own_server.run_dir.rglob("*") if p.is_file()]
    others = [p for p in files if str(p.relative_to(own_server.run_dir)) not in OWN]
    assert {"audit.jsonl", "outbox.db", "nats-server.log", "tokens.json"} <= {path.name for path in others}
    found = [(p.name, name) for p in others for name, secret in kept.items() if secret.encode() in p.read_bytes()]
    assert found == []
    assert any(own_server.access.password.encode() in p.read_bytes() for p in files), "the search finds what is there"
