"""Every subject as every role, on a real server: who may publish it, and who hears it."""

import asyncio
import contextlib
import stat

import nats
import orjson
import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of, stored_in, until

from bus.streams import EVENTS, NAMES
from bus.subjects import event_patterns, groups
from clients.nats import NatsEngine
from contracts.access import read_access
from contracts.errors import Unavailable
from contracts.operations import by_subject
from contracts.requests import FactorExposures
from engine.nats_roles import FEED, roles

ROLES = {role.name: role for role in roles()}
JETSTREAM = (
    *(f"$JS.API.STREAM.{verb}.{name}" for verb in ("INFO", "DELETE", "PURGE", "UPDATE", "MSG.GET") for name in NAMES),
    "$JS.API.STREAM.CREATE.MINE",
    "$JS.API.STREAM.NAMES",
    "$JS.API.INFO",
    f"$JS.API.CONSUMER.CREATE.{EVENTS}.mine",
    f"$JS.API.CONSUMER.DURABLE.CREATE.{EVENTS}.mine",
    "$JS.API.CONSUMER.MSG.NEXT.FACTOR_IN.factor-engine-requests",
    "$JS.API.CONSUMER.DELETE.FACTOR_IN.factor-engine-requests",
    f"$JS.API.DIRECT.GET.{EVENTS}",
    f"$JS.ACK.{EVENTS}.mine.1.1.1.1.1",
    "$JS.FC.x",
    "$KV.x.y",
    "$SYS.REQ.SERVER.PING",
)
EVENT_SUBJECTS = tuple(pattern.replace("*", "any") for pattern in event_patterns())
BARS = ("market_data.bar.main", "market_data.tick.main", "market_data.x")
OTHER = ("x", "_factor_probe.FACTOR_EVENTS", "_INBOX.any.1", "factor.live.main", "factor.in.x.y")
REQUESTS = tuple(by_subject())
SUBJECTS = (*REQUESTS, *(f"factor.in.{s}" for s in REQUESTS), *EVENT_SUBJECTS, *BARS, *JETSTREAM, *OTHER)


def may_publish(role: str, subject: str) -> bool:
    """What the issue says, written a second time and plainly."""
    if role == FEED:
        return subject.startswith("market_data.")
    group = subject.removeprefix("factor.in.").rpartition(".")[0]
    return groups().get(group) == role


def may_hear(role: str, subject: str) -> bool:
    return role != FEED and subject.startswith("factor.") and not subject.startswith("factor.in.")


@contextlib.asynccontextmanager
async def as_role(server, name):
    refused = []

    async def note(error):
        refused.append(str(error))

    access = read_access(server.run_dir, name)
    nc = await nats.connect(**access.options(), error_cb=note, allow_reconnect=False)
    try:
        yield nc, refused
    finally:
        await nc.close()


async def judged(nc, refused, count):
    """Wait until the server has judged what was sent: it answers in order."""
    await nc.flush()
    await until(lambda: len(refused) >= count, f"{count} refusals, there are {len(refused)}: {refused[-1:]}")


@pytest.mark.parametrize("name", ROLES)
def test_a_role_publishes_its_own_subjects_and_no_other(nats_server, name):
    async def run():
        async with as_role(nats_server, name) as (nc, refused):
            wrong = [subject for subject in SUBJECTS if not may_publish(name, subject)]
            for subject in SUBJECTS:
                await nc.publish(subject, b"{}")
            await judged(nc, refused, len(wrong))
            assert len(refused) == len(wrong)
            for subject in wrong:
                assert any(f'"{subject}"'.lower() in text.lower() for text in refused), subject

    asyncio.run(run())


@pytest.mark.parametrize("name", ROLES)
def test_a_role_hears_events_and_its_own_inbox_and_nothing_else(nats_server, name):
    asked = (*SUBJECTS, ">", "*", "*.>", "factor.>", "factor.*", "factor.in.>", "market_data.>", "$JS.>", "_INBOX.>")
    inboxes = {f"_INBOX_{other}.>": other for other in ROLES}
    right = {subject for subject in SUBJECTS if may_hear(name, subject)}
    right |= {"factor.>", "factor.*"} if name != FEED else set()
    right |= {inbox for inbox, other in inboxes.items() if other == name}

    async def run():
        async with as_role(nats_server, name) as (nc, refused):
            everything = (*asked, *inboxes)
            for subject in everything:
                await nc.subscribe(subject)
            wrong = [subject for subject in everything if subject not in right]
            await judged(nc, refused, len(wrong))
            assert len(refused) == len(wrong), refused

    asyncio.run(run())


def test_what_others_ask_durably_is_not_heard_by_who_hears_everything_of_the_engine(own_server):
    async def run():
        async with as_role(own_server, "risk") as (nc, _), peer_of(own_server) as engine:
            heard = []

            async def note(msg):
                heard.append(msg.subject)

            await nc.subscribe("factor.>", cb=note)
            await nc.flush()
            await engine.publish("factor.in.portfolio.factor_exposure.rebalance", b"{}")
            await engine.publish("factor.risk_model.created", b"{}")
            await engine.flush()
            await until(lambda: heard, "the event came")
            await nc.flush()
            assert heard == ["factor.risk_model.created"]

    asyncio.run(run())


@pytest.mark.parametrize("name", [name for name in ROLES if name != FEED])
def test_a_peer_asks_plainly_and_durably_and_hears_its_result(own_server, name):
    subject = next(s for s in REQUESTS if groups()[s.rpartition(".")[0]] == name)

    async def run():
        async with bridge_over(own_server, ClientDouble()), as_role(own_server, name) as (nc, refused):
            reply = await nc.request(subject, b"{}", timeout=10)
            assert orjson.loads(reply.data)
            ack = await nc.jetstream().publish(f"factor.in.{subject}", b"{}")
            assert ack.stream == "FACTOR_IN"
            assert refused == []

    asyncio.run(run())


def test_the_feed_publishes_bars_and_has_them_acknowledged(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()), as_role(own_server, FEED) as (nc, refused):
            assert (await nc.jetstream().publish("market_data.bar.main", b"{}")).stream == "MARKET_DATA"
            assert refused == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "target",
    ["factor.risk_model.created", "market_data.bar.main", "portfolio.factor_exposure.rebalance", "$JS.API.INFO"],
)
def test_nobody_makes_the_engine_publish_for_him_by_naming_a_subject_for_the_reply(own_server, target):
    """Replies are published by the engine, which may do everything."""
    body = orjson.dumps({"portfolio_weights": {"A": 1.0}})

    async def run():
        async with (
            bridge_over(own_server, ClientDouble()) as bridge,
            as_role(own_server, "risk") as (nc, _),
            peer_of(own_server) as engine,
        ):
            heard = []

            async def note(msg):
                heard.append((msg.subject, msg.headers))

            await engine.subscribe(target, cb=note)
            await engine.flush()
            await nc.publish("risk.factor_request.factor_exposures", body, reply=target)
            await nc.publish("$SRV.PING", b"", reply=target)
            await nc.jetstream().publish(
                "factor.in.risk.factor_request.factor_exposures", body, headers={"factor-reply-to": target}
            )
            await until(lambda: bridge.durable.done == 1 and bridge.desk.refused == 1, "both were looked at")
            await engine.flush()
            assert heard == []
            assert (await nc.request("risk.factor_request.factor_exposures", body, timeout=10)).data

    asyncio.run(run())


def test_a_subject_for_the_reply_that_is_none_does_not_end_the_connection(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()) as bridge, as_role(own_server, "risk") as (nc, _):
            for target in ("a b", "a..b", "*", "x.>", " "):
                await nc.jetstream().publish(
                    "factor.in.risk.factor_request.factor_exposures",
                    b'{"portfolio_weights": {"A": 1.0}}',
                    headers={"factor-reply-to": target},
                )
            await until(lambda: bridge.durable.done == 5, "all were done")
            assert bridge.connections == 1

    asyncio.run(run())


def test_secrets_of_the_roles_are_random_private_and_stay_over_a_restart(own_server):
    before = {name: read_access(own_server.run_dir, name) for name in ROLES}
    assert len({access.password for access in before.values()} | {own_server.access.password}) == len(ROLES) + 1
    for name in ROLES:
        path = own_server.folder / "peers" / f"{name}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert before[name].password not in own_server.log_path.read_text()
    own_server.stop()
    own_server.start()
    assert {name: read_access(own_server.run_dir, name) for name in ROLES} == before


def test_the_typed_client_asks_in_a_role(own_server):
    async def run():
        async with (
            bridge_over(own_server, ClientDouble()),
            NatsEngine.of_run(own_server.run_dir, "portfolio") as bus,
            bus.events("factor.portfolio_exposures.*") as events,
        ):
            book = FactorExposures(portfolio_weights={"A": 1.0}, portfolio_id="p")
            subject = "portfolio.factor_exposure.exposure"
            reply = await bus.connection.request(subject, orjson.dumps(book.model_dump()), timeout=10)
            assert orjson.loads(reply.data)["success"]
            async with asyncio.timeout(20.0):
                assert (await anext(events)).subject == "factor.portfolio_exposures.p"
        with pytest.raises(Unavailable, match="for nobody"):
            NatsEngine.of_run(own_server.run_dir, "nobody")

    asyncio.run(run())


def test_events_in_the_stream_are_the_engines_own(own_server):
    async def run():
        async with bridge_over(own_server, ClientDouble()), as_role(own_server, "risk") as (nc, refused):
            body = orjson.dumps({"portfolio_weights": {"A": 1.0}})
            await nc.request("risk.factor_request.factor_exposures", body, timeout=10)
            await nc.publish("factor.risk_model.created", b"forged", headers={"ce-id": "1"})
            await judged(nc, refused, 1)
            async with peer_of(own_server) as engine:

                async def there():
                    return [m for m in await stored_in(engine, EVENTS) if m.subject.startswith("factor.portfolio_ex")]

                await until(there, "the result is stored")
                assert not [m for m in await stored_in(engine, EVENTS) if m.data == b"forged"]

    asyncio.run(run())
