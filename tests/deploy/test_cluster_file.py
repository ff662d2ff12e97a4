"""`cluster.yaml` as Ray reads it; tests/launch/test_ray_up.py runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import node
from engine.errors import StartError

FILE = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    """Give the file as `ray up` completes it, and leaves it on the head."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(FILE.read_text()))
    validate_config(config)
    return config


def test_all_machines_are_to_be_up_at_all_times(prepared):
    (kind,) = prepared["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(prepared["provider"]["worker_ips"])


def test_the_head_is_started_with_what_starts_the_nodes(prepared):
    commands = prepared["head_start_ray_commands"]
    assert commands[-1].endswith("-m launch.node --lead --autoscaling ~/ray_bootstrap_config.yaml")
    # `ray up` warns of a head without nodes where it does not find these words.
    assert any("ray start" in command and "autoscaling-config" in command for command in commands)
    assert prepared["worker_start_ray_commands"][-1].endswith("-m launch.node --head $RAY_HEAD_IP")


def test_ray_counts_the_head_among_the_machines_so_it_is_told_of_one_more(prepared, tmp_path):
    from ray.autoscaler.v2.instance_manager.config import FileConfigReader

    told, out = tmp_path / "ray_bootstrap_config.yaml", tmp_path / "autoscaling.json"
    told.write_text(json.dumps(prepared))
    node.write_autoscaling(told, out)
    assert out.stat().st_mode & 0o777 == 0o600
    read = FileConfigReader(str(out)).get_cached_autoscaling_config()
    (kind,) = read.get_node_type_configs().values()
    machines = 1 + len(prepared["provider"]["worker_ips"])
    assert kind.min_worker_nodes == kind.max_worker_nodes == machines


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"available_node_types": {"a": {}, "b": {}}}'])
def test_what_is_no_configuration_of_ray_up_is_an_error_that_names_the_file(text, tmp_path):
    told = tmp_path / "told"
    if text is not None:
        told.write_text(text)
    with pytest.raises(StartError, match="told is not what ray up writes"):
        node.write_autoscaling(told, tmp_path / "out")
    assert not (tmp_path / "out").exists()
