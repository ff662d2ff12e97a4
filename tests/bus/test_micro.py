import asyncio

import orjson
from fixtures_nats import ClientDouble, bridge_over, peer_of

from contracts.operations import by_subject


def test_the_service_can_be_found_described_and_counted(nats_server):
    async def check():
        async with bridge_over(nats_server, ClientDouble()) as bridge, peer_of(nats_server) as nc:

            async def control(subject):
                return orjson.loads((await nc.request(subject, timeout=30)).data)

            ping = await control("$SRV.PING")
            assert ping["name"] == "factor-engine"
            assert ping["type"] == "io.nats.micro.v1.ping_response"
            assert await control(f"$SRV.PING.factor-engine.{ping['id']}") == ping

            info = await control("$SRV.INFO.factor-engine")
            assert {e["subject"] for e in info["endpoints"]} >= set(by_subject())
            assert all(e["queue_group"] == "factor-engine" for e in info["endpoints"])

            body = orjson.dumps({"portfolio_weights": {"A": 1.0}})
            await nc.request("risk.factor_request.factor_exposures", body, timeout=30)
            await nc.request("risk.factor_request.factor_exposures", b"{", timeout=30)
            await nc.request("risk.factor_request.nope", b"{", timeout=30)
            stats = await control("$SRV.STATS.factor-engine")
            by_name = {e["subject"]: e for e in stats["endpoints"]}
            counted = by_name["risk.factor_request.factor_exposures"]
            assert (counted["num_requests"], counted["num_errors"]) == (2, 1)
            assert counted["last_error"] == "400:malformed_body"
            assert counted["average_processing_time"] == counted["processing_time"] // 2 > 0
            assert by_name["risk.factor_request.*"]["num_requests"] == 1
            assert bridge.desk.requests == 3

    asyncio.run(check())
