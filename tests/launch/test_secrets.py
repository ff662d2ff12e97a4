"""A whole run, then its whole output: no secret is in a log, page, event, file of others, environment or argument."""

import asyncio
import json
import secrets
import sys
from pathlib import Path

import nats
import psutil
import pytest
from running_engine import running, small_market

from contracts.access import read_access
from contracts.settings import TOKENS
from contracts.tokens import Scope, add_token
from engine.nats_roles import roles

pytestmark = [pytest.mark.ray, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
OWN = {"nats/access.json", "nats/nats-server.conf", "ray/token", *(f"nats/peers/{role.name}.json" for role in roles())}
"""The private files that the secrets are for."""
PAGES = ("/health", "/metrics", "/performance-metrics", "/routing", "/messagebus/status", "/openapi.json", "/live",
         "/api/v1/factor-engine/config", "/api/v1/factor-engine/status", "/nowhere")  # fmt: skip
BOOK = {"portfolio_weights": {"NOPE": 1.0}}


def bearer(secret):
    return {"authorization": f"Bearer {secret}"}


async def knock(access, password):
    """Ask over NATS in a role, say what it may not, and try a wrong password."""

    async def quiet(_error):
        pass

    nc = await nats.connect(**access.options(), error_cb=quiet)
    await nc.request("risk.factor_request.factor_exposures", json.dumps(BOOK).encode(), timeout=30)
    await nc.publish("factor.risk_model.created", b"{}")
    await nc.jetstream().publish("factor.in.risk.factor_request.factor_exposures", b"{")
    await nc.flush()
    await nc.close()
    wrong = access._replace(password=password)
    with pytest.raises(nats.errors.Error):
        await nats.connect(**wrong.options(), error_cb=quiet, allow_reconnect=False)


def found_in(files, kept):
    """List (file, which secret) wherever one stands."""
    out = []
    for path in files:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        out += [(str(path), name) for name, secret in kept.items() if secret.encode() in data]
    return out


def test_no_secret_is_in_a_whole_runs_output(tmp_path):
    run_dir, given = tmp_path / "run", secrets.token_urlsafe(32)
    run_dir.mkdir(mode=0o700)
    made = add_token(run_dir / "tokens.json", "desk", Scope.READ)
    wrong = f"fe_{secrets.token_urlsafe(32)}"
    with running(run_dir, small_market(tmp_path), **{TOKENS: f"ops:admin:{given}"}) as run:
        run.until_ready()
        pages = [run.ask("GET", path, headers=bearer(secret)) for path in PAGES for secret in (made, given, wrong)]
        assert {page.status_code for page in pages} >= {200, 401, 404}
        for secret in (made, given):
            pages.append(run.ask("POST", "/factor-exposures/calculate", json=BOOK, headers=bearer(secret)))
            pages.append(run.ask("DELETE", "/factor-model/none", headers=bearer(secret)))
        asyncio.run(knock(read_access(run_dir, "risk"), wrong))

        kept = {"given token": given, "made token": made, "wrong token": wrong}
        kept |= {"Ray's token": (run_dir / "ray" / "token").read_text().strip()}
        kept |= {"the engine's password": read_access(run_dir).password}
        kept |= {f"{role.name}'s password": read_access(run_dir, role.name).password for role in roles()}

        shown = "\n".join(page.text + str(page.headers) for page in pages) + run.log
        assert [name for name, secret in kept.items() if secret in shown] == []
        files = [p for p in run_dir.rglob("*") if p.is_file() and str(p.relative_to(run_dir)) not in OWN]
        assert any("jetstream" in str(path) for path in files)
        logs = [p for p in Path(_temp(run)).rglob("*") if p.is_file()]
        assert any(path.suffix in (".log", ".out", ".err") for path in logs)
        assert found_in([*files, *logs, run.log_path], kept) == []
        told = []
        for process in run.tree():
            try:
                told += [(process.pid, process.cmdline(), process.environ())]
            except psutil.Error:
                continue
        assert len(told) > 10
        # The process that the operator started was given the one token; nothing below it was.
        below = [row for row in told if row[0] != run.process.pid]
        assert [(pid, name) for pid, *rest in below for name, secret in kept.items() if secret in str(rest)] == []


def _temp(run):
    """Give the run's short temporary folder, by what its processes were told."""
    for process in run.tree():
        for word in process.cmdline():
            if "/tmp/fe-" in word:
                return "/tmp/fe-" + word.partition("/tmp/fe-")[2].partition("/")[0].split(",")[0]
    raise AssertionError("no process names the temporary folder")
