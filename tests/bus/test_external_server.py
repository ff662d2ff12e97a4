"""A server of the operator's: every way to log in, and TLS, on a real nats-server."""

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import time

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fixtures_certificates import Authority
from fixtures_nats import ClientDouble, until

from bus.bridge import Bridge
from clients.nats import NatsEngine
from contracts.access import NatsAccess, external_path, keep_external, nats_access
from contracts.errors import InvalidInput, Unavailable
from contracts.nkey import NKey, encoded, read_credentials
from contracts.requests import FactorExposures
from contracts.settings import Settings, environment_of
from engine.nats_server import find_binary
from engine.ports import free_port

BOOK = FactorExposures(portfolio_weights={"A": 1.0})
KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}


@contextlib.contextmanager
def serving(folder, text):
    """Run nats-server with this configuration; gives its URL without a scheme."""
    port = free_port()
    path = folder / "server.conf"
    path.write_text(f'host: "127.0.0.1"\nport: {port}\njetstream {{ store_dir: "{folder}/js" }}\n{text}\n')
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen([str(find_binary()), "-c", str(path)], stdout=out, stderr=out)
    try:
        end = time.monotonic() + 20.0
        while "Server is ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(current):
    """Run a bridge with these settings, and ask it as a client with the same access; gives what the bridge shows."""

    async def run():
        bridge = Bridge(current, ClientDouble())
        await bridge.start()
        try:
            await until(lambda: bridge.status()["jetstream"] == "ready", "the bridge is connected")
            async with NatsEngine(nats_access(current)) as bus:
                assert (await bus.factor_exposures(BOOK)).calculation_result.factor_exposures == {"market": 1.0}
            return orjson.dumps([bridge.status(), bridge.stats()]).decode()
        finally:
            await bridge.stop()

    return asyncio.run(run())


def refused(current):
    """Run a bridge that cannot connect; gives the reason that it shows."""

    async def run():
        bridge = Bridge(current, ClientDouble())
        await bridge.start()
        try:
            await until(lambda: bridge.last_error, "it was refused")
            assert not bridge.connected
            return orjson.dumps(bridge.status()).decode()
        finally:
            await bridge.stop()

    return asyncio.run(run())


def key(kind):
    """Make a key pair; gives its seed as text."""
    raw = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    code = KINDS[kind]
    return encoded(bytes([18 << 3 | code >> 5, (code & 31) << 3]) + raw)


def private(path, text):
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def test_by_user_and_password(tmp_path):
    with serving(tmp_path, 'authorization { users: [ { user: "engine", password: "very secret" } ] }') as where:
        of = {"run_dir": tmp_path, "nats_url": f"nats://{where}", "nats_user": "engine"}
        assert "very secret" not in answers(Settings(**of, nats_password="very secret"))
        assert "other secret" not in refused(Settings(**of, nats_password="other secret"))


def test_by_a_token(tmp_path):
    with serving(tmp_path, 'authorization { token: "very-secret" }') as where:
        assert "very-secret" not in answers(Settings(run_dir=tmp_path, nats_url=where, nats_token="very-secret"))
        assert "uthorization" in refused(Settings(run_dir=tmp_path, nats_url=where, nats_token="another"))


def test_by_an_nkey(tmp_path):
    seed = key("user")
    right = private(tmp_path / "user.nk", seed + "\n")
    wrong = private(tmp_path / "other.nk", key("user"))
    with serving(tmp_path, f"authorization {{ users: [ {{ nkey: {NKey(seed).public} }} ] }}") as where:
        assert seed not in answers(Settings(run_dir=tmp_path, nats_url=where, nats_nkey_file=right))
        assert "uthorization" in refused(Settings(run_dir=tmp_path, nats_url=where, nats_nkey_file=wrong))
        gone = refused(Settings(run_dir=tmp_path, nats_url=where, nats_nkey_file=tmp_path / "none.nk"))
        assert "none.nk" in gone


def jwt(claims, issuer):
    """Sign claims as NATS has them."""

    def text(part):
        return base64.urlsafe_b64encode(part).decode().rstrip("=")

    signer = NKey(issuer)
    claims = {"jti": "x", "iat": int(time.time()), "iss": signer.public, **claims}
    body = ".".join(text(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims))
    return f"{body}.{text(base64.b64decode(signer.sign(body)))}"


def test_by_a_creds_file(tmp_path):
    operator, account, user, system = key("operator"), key("account"), key("user"), key("account")
    lead, own, me, sys = (NKey(seed).public for seed in (operator, account, user, system))
    unlimited = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1,
                 "wildcards": True}  # fmt: skip
    stored = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}

    def of_account(public, limits):
        return jwt({"sub": public, "name": "A", "nats": {"type": "account", "version": 2, "limits": limits}}, operator)

    top = jwt({"sub": lead, "name": "O", "nats": {"type": "operator", "version": 2}}, operator)
    rights = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
    low = jwt({"sub": me, "name": "U", "nats": rights}, account)
    creds = private(
        tmp_path / "me.creds",
        f"-----BEGIN NATS USER JWT-----\n{low}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user}\n------END USER NKEY SEED------\n",
    )
    accounts = f"{own}: {of_account(own, unlimited | stored)}, {sys}: {of_account(sys, unlimited)}"
    text = f"operator: {top}\nsystem_account: {sys}\nresolver: MEMORY\nresolver_preload: {{ {accounts} }}"
    with serving(tmp_path, text) as where:
        shown = answers(Settings(run_dir=tmp_path, nats_url=where, nats_creds_file=creds))
        assert user not in shown
        assert low not in shown
        assert refused(Settings(run_dir=tmp_path, nats_url=where))


@pytest.mark.parametrize(
    "text", ["", "x", "SU", "S" * 58, "UAAA", "SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
)
def test_what_is_no_seed_is_refused_without_being_shown(text):
    with pytest.raises(InvalidInput) as error:
        NKey(text)
    assert str(error.value) == "this is no seed of an nkey"


def test_a_seed_with_one_letter_changed_is_none():
    seed = key("user")
    assert NKey(seed).public.startswith("U")
    assert len(NKey(seed).public) == 56
    for place in (2, 30, -1):
        for letter in set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") - {seed[place]}:
            changed = list(seed)
            changed[place] = letter
            with pytest.raises(InvalidInput):
                NKey("".join(changed))


def test_a_creds_file_without_a_part_names_it(tmp_path):
    path = private(tmp_path / "half.creds", "-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n")
    with pytest.raises(InvalidInput, match="USER NKEY SEED"):
        read_credentials(path)


@pytest.fixture
def tls(tmp_path):
    """A server that shows a certificate of one authority and wants one of it."""
    authority = Authority(tmp_path)
    shown, secret = authority.certificate("server")
    text = (
        f'tls {{ cert_file: "{shown}", key_file: "{secret}", ca_file: "{authority.path}", verify: true }}\n'
        'authorization { users: [ { user: "engine", password: "very secret" } ] }'
    )
    with serving(tmp_path, text) as where:
        mine, key_of_mine = authority.certificate("engine")
        yield {
            "run_dir": tmp_path, "nats_url": f"tls://{where}", "nats_user": "engine", "nats_password": "very secret",
            "nats_ca_file": authority.path, "nats_cert_file": mine, "nats_key_file": key_of_mine,
        }  # fmt: skip


def test_over_tls_with_a_certificate_of_ours(tls):
    answers(Settings(**tls))


def test_a_server_of_another_authority_is_not_talked_to(tls, tmp_path):
    other = Authority(tmp_path, "other")
    assert "CERTIFICATE_VERIFY_FAILED" in refused(Settings(**{**tls, "nats_ca_file": other.path}))


def test_without_a_certificate_of_ours_the_server_refuses(tls):
    assert refused(Settings(**{**tls, "nats_cert_file": None, "nats_key_file": None}))


def test_another_address_than_the_certificates_is_not_talked_to(tls):
    """The certificate is for 127.0.0.1; the listener takes any address of loopback's network by a relay."""
    port = tls["nats_url"].rpartition(":")[2]

    async def run():
        async def relay(reader, writer):
            there = await asyncio.open_connection("127.0.0.1", int(port))

            async def pump(source, sink):
                with contextlib.suppress(OSError):
                    while block := await source.read(65536):
                        sink.write(block)
                        await sink.drain()
                sink.close()

            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

        server = await asyncio.start_server(relay, "127.0.0.2", 0)
        current = Settings(**{**tls, "nats_url": f"tls://127.0.0.2:{server.sockets[0].getsockname()[1]}"})
        bridge = Bridge(current, ClientDouble())
        await bridge.start()
        try:
            await until(lambda: "CERTIFICATE_VERIFY_FAILED" in bridge.last_error, "it was refused")
        finally:
            await bridge.stop()
            server.close()

    asyncio.run(run())


def test_a_server_that_offers_no_tls_is_told_no_secret(tmp_path):
    """Whoever sits between the two could say so: nats-py would then send the password in clear."""
    heard = []

    async def answer(reader, writer):
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","auth_required":true,"max_payload":1048576}\r\n')
        await writer.drain()
        heard.append(await reader.read(4096))
        writer.close()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        current = Settings(
            run_dir=tmp_path, nats_url=f"tls://127.0.0.1:{port}", nats_user="engine", nats_password="very secret"
        )
        bridge = Bridge(current, ClientDouble())
        await bridge.start()
        try:
            await until(lambda: len(heard) >= 2, "it tried twice")
            assert "offers no TLS" in bridge.last_error
        finally:
            await bridge.stop()
            server.close()
            await server.wait_closed()

    asyncio.run(run())
    assert b"very secret" not in b"".join(heard)
    assert b"CONNECT" not in b"".join(heard)


def test_no_environment_shows_the_log_in_and_processes_of_the_engine_find_it(tmp_path, monkeypatch):
    given = Settings(run_dir=tmp_path, nats_url="nats://me:secret1@broker:4222", nats_token="secret2")
    keep_external(given)
    handed = environment_of(given)
    assert not [value for value in handed.values() if "secret" in value]
    assert external_path(tmp_path).stat().st_mode & 0o777 == 0o600
    for name in list(os.environ):
        if name.startswith("FACTOR_ENGINE_"):
            monkeypatch.delenv(name)
    for name, value in handed.items():
        monkeypatch.setenv(name, value)
    assert nats_access(Settings()) == nats_access(given) == NatsAccess("nats://me:secret1@broker:4222", token="secret2")
    keep_external(Settings(run_dir=tmp_path, nats_url="nats://broker:4222"))
    assert external_path(tmp_path).exists(), "a process of the engine does not know all that the operator set"
    keep_external(Settings(run_dir=tmp_path, nats_url="nats://broker:4222"), forget=True)
    assert nats_access(Settings()) == NatsAccess("nats://broker:4222")


def test_settings_show_no_secret_of_nats(tmp_path):
    given = Settings(run_dir=tmp_path, nats_url="nats://b", nats_password="secret1", nats_token="secret2")
    for shown in (repr(given), given.model_dump_json(), str(nats_access(given)), repr(nats_access(given))):
        assert "secret1" not in shown
        assert "secret2" not in shown


def test_a_client_that_cannot_log_in_is_told_so_without_the_secret(tmp_path):
    with serving(tmp_path, 'authorization { token: "right" }') as where:

        async def run():
            access = NatsAccess(f"nats://{where}", token="very-wrong")
            async with NatsEngine(access, allow_reconnect=False, error_cb=_quiet):
                pass

        with pytest.raises(Unavailable) as error:
            asyncio.run(run())
        assert "very-wrong" not in str(error.value)


async def _quiet(_error):
    pass


def test_the_inbox_is_the_one_that_the_operator_allows(tmp_path):
    text = """authorization { users: [
      { user: "all", password: "p" },
      { user: "me", password: "p", permissions: { publish: ["risk.factor_request.*"], subscribe: ["mine.>"] } } ] }"""
    with serving(tmp_path, text) as where:

        async def run():
            bridge = Bridge(Settings(run_dir=tmp_path, nats_url=f"nats://all:p@{where}"), ClientDouble())
            await bridge.start()
            try:
                await until(lambda: bridge.connected, "it is connected")
                async with NatsEngine(NatsAccess(f"nats://{where}", "me", "p", inbox="mine")) as bus:
                    assert (await bus.factor_exposures(BOOK)).success
            finally:
                await bridge.stop()

        asyncio.run(run())
        assert nats_access(Settings(nats_url=where, nats_inbox="mine.x")).options()["inbox_prefix"] == "mine.x"
