"""`cluster.yaml` as Ray reads it; tests/launch/test_ray_up.py runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(FILE.read_text()))
    validate_config(config)
    return config


def test_all_machines_are_to_be_up_at_all_times(prepared):
    (kind,) = prepared["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(prepared["provider"]["worker_ips"])


def test_the_head_is_started_with_what_starts_the_nodes(prepared):
    commands = prepared["head_start_ray_commands"]
    assert "--lead --autoscaling ~/ray_bootstrap_config.yaml" in commands[-1]
    # `ray up` warns of a head without nodes where it does not find these words.
    assert any("ray start" in command and "autoscaling-config" in command for command in commands)
    # Of its own autoscaling `ray up` says where the nodes find the head.
    assert prepared["worker_start_ray_commands"][-1].endswith("--head $RAY_HEAD_IP")
