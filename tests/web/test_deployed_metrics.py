"""The alerts and the dashboard that are shipped ask for metrics, and by labels, that the engine has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

PROMTOOL = shutil.which("promtool")
DEPLOY = Path(__file__).parents[2] / "deploy"
OF_PROMETHEUS = {"up"}


def expressions():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    yield from (rule["expr"] for group in groups for rule in group["rules"])
    panels = json.loads((DEPLOY / "grafana/dashboards/factor-engine.json").read_text())["panels"]
    yield from (target["expr"] for panel in panels for target in panel["targets"])


def test_every_metric_of_the_alerts_and_the_dashboard_is_there(http):
    http.get("/factor-models/list")
    page = http.get("/metrics").text
    there = {re.sub("_(count|sum|bucket)$", "", name) for name in re.findall(r"^# HELP (\S+)", page, re.MULTILINE)}
    named = {name for text in expressions() for name in re.findall(r"factor_engine_[a-z_]+", text)}
    assert len(named) > 12
    assert named <= there, named - there


def test_they_group_by_labels_that_the_metrics_have(http):
    page = http.get("/metrics").text
    for text in expressions():
        for labels, metric in re.findall(r"by \(([a-z, ]+)\) \((?:rate\()?(factor_engine_[a-z_]+)", text):
            lines = re.findall(rf"^{metric}\{{(.*?)\}}", page, re.MULTILINE)
            for line in lines[:1]:  # a metric that nothing has been counted of yet has none
                assert {label.strip() for label in labels.split(",")} <= set(re.findall(r"(\w+)=", line)), text


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool here")
def test_prometheus_own_linter_finds_nothing_in_the_metrics(http):
    http.get("/factor-models/list")
    http.get("/factor-models/absent/status")
    page = http.get("/metrics").text
    command = [str(PROMTOOL), "check", "metrics"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "factor_engine_build_info{" in page
