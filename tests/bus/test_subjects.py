import asyncio
import re

import pytest
from fixtures_nats import ClientDouble, bridge_over, peer_of
from nats.js.api import StreamConfig

import web.service
from bus import streams
from bus.probe import PROBE_SUBJECT
from bus.subjects import HEALTH, REJECTED, TEST, event_patterns, groups, named, resolve
from contracts.errors import UnknownOperation
from contracts.events import token
from contracts.operations import OPERATIONS, by_subject
from contracts.settings import Settings


def covers(pattern, subject):
    ours, theirs = pattern.split("."), subject.split(".")
    for i, part in enumerate(ours):
        if part == ">":
            return len(theirs) > i
        if i >= len(theirs) or (part != "*" and theirs[i] not in (part, "*")):
            return False
    return len(ours) == len(theirs)


def stream_subjects():
    return [subject for config in streams.definitions() for subject in config.subjects]


def test_every_request_subject_finds_its_operation():
    for subject, operation in by_subject().items():
        assert resolve(subject) == (operation, {})


ASKED_FOR = {
    "risk.factor_request": "margin stress risk_model covariance what_if portfolio_risk factor_exposures risk_history",
    "analytics.factor_request": "performance trend attribution style_factors factor_returns factor_analytics",
    "strategy.factor_analysis": "signals library_signals cross_section evaluate optimize risk_budget frontier momentum",
    "portfolio.factor_exposure": "exposure attribution rebalance hedge risk risk_history",
    "ml.factor_features": "features dataset predict library cross_section evaluate definitions list_estimators",
    "toraniko.model_request": "create update append status list delete clean_features reduce_universe quality correct",
}
"""What peers ask for, by the group that they ask on."""


def test_what_peers_ask_for_is_an_operation_of_their_group():
    for group, words in ASKED_FOR.items():
        for word in words.split():
            operation, given = resolve(f"{group}.{word}")
            assert given == {}, (group, word)
            assert operation.routes, "it is asked over HTTP too"
            assert operation.example or not any(f.is_required() for f in operation.request.model_fields.values())


def slips(word):
    """A letter too few, one too many, two in the wrong order, and capitals."""
    middle = len(word) // 2
    yield word[:middle] + word[middle + 1 :]
    yield word[:middle] + word[middle] + word[middle:]
    yield word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
    yield word.capitalize()
    yield word.upper()


def test_of_every_subject_what_is_nearly_its_operation_is_an_error_that_suggests_one():
    tried = 0
    for subject in by_subject():
        group, _, word = subject.rpartition(".")
        for slip in slips(word):
            if f"{group}.{slip}" in by_subject():
                continue
            with pytest.raises(UnknownOperation) as caught:
                resolve(f"{group}.{slip}")
            assert f"{subject} does" in str(caught.value), (subject, slip)
            tried += 1
    assert tried > 4 * len(by_subject())


def test_of_every_group_the_last_token_is_a_name_only_where_a_row_says_so():
    for group in groups():
        if group in named():
            row, field = named()[group]
            assert resolve(f"{group}.zz9") == (row, {field: "zz9"})
        else:
            with pytest.raises(UnknownOperation):
                resolve(f"{group}.zz9")


def test_every_engine_that_we_answer_by_default_has_a_group_and_the_other_way_round():
    assert set(groups().values()) == set(Settings().subscribe_to_engines)


def test_the_last_token_may_name_the_portfolio_the_model_or_the_symbol():
    assert resolve("portfolio.factor_exposure.BRK=2EB") == (OPERATIONS["factor_exposures"], {"portfolio_id": "BRK.B"})
    assert resolve("toraniko.model_request.my-model") == (OPERATIONS["model_status"], {"model_id": "my-model"})
    assert resolve(f"ml.factor_features.{token('BF.B')}") == (OPERATIONS["calculate_factors"], {"symbol": "BF.B"})
    assert sum(len(row.named_subjects) for row in OPERATIONS.values()) == len(named()) == 3
    for group, (row, field) in named().items():
        assert group in groups()
        assert field in row.request.model_fields


@pytest.mark.parametrize(
    ("subject", "meant"),
    [
        ("portfolio.factor_exposure.rebalence", "portfolio.factor_exposure.rebalance"),
        ("portfolio.factor_exposure.exposures", "portfolio.factor_exposure.exposure"),
        ("portfolio.factor_exposure.margin", "risk.factor_request.margin"),
        ("toraniko.model_request.Create", "toraniko.model_request.create"),
        ("toraniko.model_request.stauts", "toraniko.model_request.status"),
        ("ml.factor_features.feature", "ml.factor_features.features"),
        ("risk.factor_request.marign", "risk.factor_request.margin"),
        ("portfolio.factor_exposure.portfolio_attribution", "portfolio.factor_exposure.attribution"),
        ("portfolio.factor_exposure.create_model", "toraniko.model_request.create"),
        ("toraniko.model_request.delete_model", "toraniko.model_request.delete"),
        ("toraniko.model_request.put_data", "PUT /factor-model/{model_id}/data"),
        ("ml.factor_features.put_estimator", "PUT /estimators/{estimator_id}"),
    ],
)
def test_what_is_nearly_an_operation_is_no_name_in_silence(subject, meant):
    with pytest.raises(UnknownOperation, match=re.escape(meant)):
        resolve(subject)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operations_name_is_taken_for_a_name_in_any_group(name):
    for group, (row, _) in named().items():
        try:
            found, given = resolve(f"{group}.{name}")
        except UnknownOperation:
            continue
        assert given == {}, (group, name, row.name)
        assert f"{group}.{name}" in found.subjects


@pytest.mark.parametrize("name", ["tech", "MSFT", "long-short", "main", "book7", "=2E"])
def test_what_is_no_such_word_is_a_name(name):
    for group, (row, field) in named().items():
        operation, given = resolve(f"{group}.{name}")
        assert operation is row
        assert list(given) == [field]


def test_an_unknown_subject_is_told_what_there_is():
    with pytest.raises(UnknownOperation, match=r"risk\.factor_request\.covariance"):
        resolve("risk.factor_request.nope")


def test_every_event_subject_has_a_place_in_the_event_stream():
    for operation in OPERATIONS.values():
        for template in operation.events:
            pattern = re.sub(r"\{[a-z_]+\}", "*", template)
            holders = [p for p in event_patterns() if covers(p, pattern)]
            assert len(holders) == 1, template


def test_tests_and_rejections_have_one_too_and_health_has_none():
    for subject in (TEST, f"{REJECTED}x"):
        assert len([p for p in event_patterns() if covers(p, subject)]) == 1
    assert not [p for p in event_patterns() if covers(p, HEALTH)]
    assert TEST == web.service.TEST_SUBJECT


def test_no_stream_covers_a_request_subject_and_no_two_overlap():
    requests = [*by_subject(), *(f"{group}.*" for group in groups())]
    for pattern in stream_subjects():
        assert not [subject for subject in requests if covers(pattern, subject)]
        assert not pattern.startswith(("*", ">")), "a stream names its subjects"
    for one in stream_subjects():
        assert [other for other in stream_subjects() if covers(one, other)] == [one]


def test_the_server_too_says_that_no_stream_covers_a_request_subject(own_server):
    async def check():
        async with peer_of(own_server) as nc:
            js = nc.jetstream()
            await streams.ensure(js)
            assert await streams.covering(js) == {}
            await js.add_stream(StreamConfig(name="GREEDY", subjects=["risk.>"]))
            assert await streams.covering(js) == {"risk.factor_request": "GREEDY"}

    asyncio.run(check())


def test_a_bridge_whose_requests_a_strangers_stream_takes_is_degraded(own_server):
    async def check():
        async with peer_of(own_server) as nc:
            await nc.jetstream().add_stream(StreamConfig(name="GREEDY", subjects=["risk.>"]))
            async with bridge_over(own_server, ClientDouble()) as bridge:
                status = bridge.status()
                assert status["state"] == "DEGRADED"
                assert status["streams_over_request_subjects"] == {"risk.factor_request": "GREEDY"}

    asyncio.run(check())


def test_streams_made_with_other_limits_are_brought_to_their_definition(own_server):
    async def check():
        async with peer_of(own_server) as nc:
            js = nc.jetstream()
            await js.add_stream(StreamConfig(name=streams.EVENTS, subjects=["factor.risk_model.*"]))
            await streams.ensure(js)
            await streams.ensure(js)
            info = await js.stream_info(streams.EVENTS)
            assert set(info.config.subjects) == {*event_patterns(), PROBE_SUBJECT + streams.EVENTS}
            assert info.config.duplicate_window == streams.DUPLICATE_WINDOW_S

    asyncio.run(check())
