"""Each alert that is shipped fires on what it says, and on nothing else; and what nobody can say is no figure."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from contracts.errors import BY_CODE
from contracts.settings import Settings
from web.performance import prometheus
from web.services import Services

PROMTOOL = shutil.which("promtool")
ALERTS = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"
WELL = {
    'up{job="factor-engine"}': "1x120",
    "factor_engine_up": "1x120",
    'factor_engine_actor_ready{workload="a"}': "1x120",
    'factor_engine_actor_restarts_total{workload="a"}': "2x120",
    "factor_engine_bus_connected": "1x120",
    'factor_engine_disk_free_bytes{place="store"}': "5e10x120",
    "factor_engine_http_fallback_requests_total": "7x120",
    'factor_engine_http_requests_total{route="r"}': "0+600x120",
    'factor_engine_http_problems_total{route="r",code="unknown_model"}': "0+600x120",
    'factor_engine_http_problems_total{route="r",code="unavailable"}': "0+6x120",
}
"""Series by the minute of an engine that is well: a caller's own mistakes are no fault of it."""
ILL = {
    "EngineDown": [
        ({'up{job="factor-engine"}': "1x10 0x110"}, {"job": "factor-engine"}),
        ({"factor_engine_up": "1x10 0x110"}, {}),
    ],
    "EngineDegraded": [({'factor_engine_degraded{component="outbox"}': "_x10 1x110"}, {"component": "outbox"})],
    "ActorNotReady": [({'factor_engine_actor_ready{workload="a"}': "1x10 0x110"}, {"workload": "a"})],
    "ActorRestarts": [({'factor_engine_actor_restarts_total{workload="a"}': "2x60 2+1x60"}, {"workload": "a"})],
    "BusNotConnected": [({"factor_engine_bus_connected": "1x10 0x110"}, {})],
    "DiskNearlyFull": [({'factor_engine_disk_free_bytes{place="store"}': "5e10x10 1e9x110"}, {"place": "store"})],
    "TrafficOnFallback": [({"factor_engine_http_fallback_requests_total": "7x10 7+1x110"}, {})],
    "ManyErrors": [({f'factor_engine_http_problems_total{{route="r",code="{code}"}}': "0+60x120"}, {})
                   for code in ("internal", "unavailable", "model_unreadable", "deadline_exceeded")],
}  # fmt: skip


def rules():
    return {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}


def test_every_alert_has_a_case():
    assert set(rules()) == set(ILL)


def test_errors_on_our_side_are_those_that_the_alert_counts():
    ours = {code for code, kind in BY_CODE.items() if kind.status >= 500} | {"deadline_exceeded"}
    (named,) = [part for part in rules()["ManyErrors"]["expr"].split('"') if "|" in part]
    assert set(named.split("|")) == ours


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool here")
def test_each_alert_fires_on_what_it_says_and_no_other_does(tmp_path):
    cases = [(None, {}, {}), *((name, ill, labels) for name, many in ILL.items() for ill, labels in many)]
    tests = []
    for name, ill, labels in cases:
        series = [{"series": key, "values": values} for key, values in {**WELL, **ill}.items()]
        fires = {one: [{"exp_labels": {**rules()[one]["labels"], **labels}}] if one == name else [] for one in rules()}
        tests.append(
            {
                "interval": "1m",
                "input_series": series,
                "alert_rule_test": [
                    {"eval_time": "90m", "alertname": one, "exp_alerts": told} for one, told in fires.items()
                ],
            }
        )
    for test in tests:  # what it says to people is not compared
        for one in test["alert_rule_test"]:
            for told in one["exp_alerts"]:
                told["exp_annotations"] = {}
    plain = yaml.safe_load(ALERTS.read_text())
    for rule in (rule for group in plain["groups"] for rule in group["rules"]):
        del rule["annotations"]
    (tmp_path / "alerts.yml").write_text(json.dumps(plain))
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": ["alerts.yml"], "tests": tests}))
    command = [str(PROMTOOL), "test", "rules", "tests.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def values(parts, **settings):
    """Give the samples of one scrape, by name."""
    services = Services(Settings(**settings))
    page = prometheus(services, {"router": None, "bridge": None, "models": None, "host": None, "silent": {}, **parts})
    families = text_string_to_metric_families(page.decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


@pytest.mark.parametrize(
    ("router", "mode", "enabled", "told"),
    [
        ({"bus": {"connected": True}}, "full", True, 1.0),
        ({"bus": {"connected": False}}, "publish", True, 0.0),
        ({"bus": {"connected": False}}, "off", True, None),
        ({"bus": {"connected": False}}, None, False, None),
        (None, "full", True, None),
    ],
)
def test_the_bus_is_told_of_where_it_is_wanted_and_somebody_knows(router, mode, enabled, told):
    found = values({"router": router, "bridge": mode and {"mode": mode}}, messagebus_enabled=enabled)
    assert found.get("factor_engine_bus_connected") == told
    assert found["factor_engine_up"] == float(router is not None)


def test_an_actor_that_does_not_answer_has_no_queue_and_a_silent_haproxy_no_count():
    actor = {"actor": "a", "workload": "a", "state": "DEGRADED", "restarts": 2, "operations": {}, "notes": {}}
    found = values(
        {
            "router": {"actors": [{**actor, "queue_length": None, "overdue": {}}]},
            "host": {"http_fallback_requests": None},
        }
    )
    assert found["factor_engine_actor_ready"] == 0.0
    assert found["factor_engine_actor_restarts_total"] == 2.0
    absent = ("actor_queue_length", "actor_overdue_seconds", "http_fallback_requests_total")
    assert not {f"factor_engine_{name}" for name in absent} & set(found)
    found = values({"router": {"actors": [{**actor, "queue_length": 0}]}, "host": {"http_fallback_requests": 0}})
    assert [found[f"factor_engine_{name}"] for name in absent] == [0.0, 0.0, 0.0]
