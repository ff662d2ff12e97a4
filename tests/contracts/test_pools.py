from __future__ import annotations

import pytest
from pydantic import ValidationError

from contracts.operations import OPERATIONS, PLACEMENTS, Workload
from contracts.pools import EACH_NODE, MOST, actor_name, name_in, numbered, pools, shared_out, why_not
from contracts.settings import Settings, environment_of, settings

EXPOSURES, RISK = Workload.FACTOR_EXPOSURE_ANALYSIS, Workload.RISK_MODEL_CONSTRUCTION
WRITER = Workload.FACTOR_MODEL_CREATION
ABLE = [workload for workload in PLACEMENTS if not why_not(workload)]


def test_unless_it_is_set_every_workload_has_one_actor():
    assert Settings().pools == ()
    assert pools(()) == {}


def test_a_pool_is_a_number_of_actors_or_one_on_each_node_and_other_processes_read_the_same(monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_POOLS", "factor_exposure_analysis = 3, risk_model_construction=node")
    chosen = Settings()
    assert pools(chosen.pools) == {EXPOSURES: 3, RISK: EACH_NODE}
    monkeypatch.setenv("FACTOR_ENGINE_POOLS", environment_of(chosen)["FACTOR_ENGINE_POOLS"])
    settings.cache_clear()
    try:
        assert settings().pools == chosen.pools
    finally:
        settings.cache_clear()


def test_a_workload_may_have_several_actors_where_it_holds_nothing_and_all_it_does_is_reading_or_writing_models():
    writing = {row.workload for row in OPERATIONS.values() if row.writes}
    assert set(ABLE) == set(Workload) - writing | {WRITER}
    assert {workload for workload in Workload if shared_out(workload)} == {WRITER}
    for workload in ABLE:
        assert pools([f"{workload}={MOST}"]) == {workload: MOST}


def test_models_are_shared_out_over_a_number_of_writers_and_not_over_nodes_which_come_and_go():
    with pytest.raises(ValidationError, match=f"pools\n.*{WRITER} writes models: they are shared out over a number"):
        Settings(pools=(f"{WRITER}=node",))


@pytest.mark.parametrize("workload", sorted(set(Workload) - set(ABLE)))
@pytest.mark.parametrize("size", ["2", "node"])
def test_one_that_writes_or_holds_live_state_is_refused_with_the_reason(workload, size):
    with pytest.raises(ValidationError, match=rf"pools\n.*{workload} has one actor only: it (writes \(|holds )"):
        Settings(pools=(f"{workload}={size}",))
    assert pools([f"{workload}=1"]) == {workload: 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("size_factor", "write workload=number"),
        (
            "size=2",
            "there is no workload 'size'; several actors may have: factor_model_creation, factor_exposure_analysis",
        ),
        ("size_factor=0", "from 1 to 16, or node"),
        ("size_factor=17", "from 1 to 16, or node"),
        ("size_factor=-1", "from 1 to 16, or node"),
        ("size_factor=2.0", "from 1 to 16, or node"),
        ("size_factor=²", "from 1 to 16, or node"),
        ("size_factor=", "from 1 to 16, or node"),
        ("size_factor=2,size_factor=node", "size_factor is named twice"),
    ],
)
def test_what_is_no_pool_is_refused_by_name(text, why):
    with pytest.raises(ValidationError, match="pools") as refused:
        Settings(pools=text)
    assert why in str(refused.value)


def test_the_first_actor_is_called_as_its_workload_and_a_name_tells_both():
    assert [actor_name(EXPOSURES, n) for n in (1, 2)] == ["factor_exposure_analysis", "factor_exposure_analysis.2"]
    for number in (1, 2, 11):
        assert numbered(actor_name(RISK, number)) == (RISK, number)
    for other in ("router", "bridge_on_a", "size_factor.", "size_factor.1", "size_factor.x", "size_factor.2.3"):
        assert numbered(other) is None


def test_a_row_of_health_names_its_actor_also_where_a_router_of_before_made_it():
    assert name_in({"workload": "size_factor", "actor": "size_factor.2"}) == "size_factor.2"
    assert name_in({"workload": "size_factor"}) == "size_factor"
