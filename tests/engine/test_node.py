import json
import os
from pathlib import Path

import pytest

from contracts.settings import Settings
from contracts.work import Device
from devices.detect import Detection
from engine import node
from engine.cluster import prepare_environment, uses_haproxy
from engine.errors import StartError
from engine.run_dir import RunDir


def test_a_node_offers_only_the_devices_that_it_has(monkeypatch):
    found = {
        Device.CPU: Detection(Device.CPU, True, "cpu", ""),
        Device.METAL_GPU: Detection(Device.METAL_GPU, True, "M4", ""),
        Device.NEURAL_ENGINE: Detection(Device.NEURAL_ENGINE, False, None, "none"),
    }
    monkeypatch.setattr(node, "detect", lambda: found)
    assert node.device_resources() == {"metal_gpu": 1.0}
    command = node.start_command("10.0.0.1", 6379, num_cpus=2)
    assert "--address=10.0.0.1:6379" in command
    resources = next(part.partition("=")[2] for part in command if part.startswith("--resources="))
    assert json.loads(resources) == {"metal_gpu": 1.0}


def test_the_environment_puts_the_token_and_the_proxys_files_where_they_are_ours(tmp_path, monkeypatch):
    import shutil

    kept = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    run_dir = RunDir(tmp_path)
    try:
        ports = prepare_environment(Settings(http="haproxy"), run_dir)
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "ray" / "token")
        assert set(ports) == {"HAProxy statistics", "HAProxy metrics"}
        assert not {8404, 9101} & set(ports.values())
        assert os.environ["RAY_SERVE_HAPROXY_SOCKET_PATH"].startswith(str(run_dir.short_temp()))
        assert prepare_environment(Settings(http="uvicorn"), run_dir) == {}
        assert os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    finally:
        shutil.rmtree(run_dir.short_temp())
        run_dir.release()
        os.environ.clear()
        os.environ.update(kept)


def test_haproxy_is_the_default_on_linux_only(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert uses_haproxy(Settings())
    assert not uses_haproxy(Settings(http="uvicorn"))
    monkeypatch.setattr("sys.platform", "darwin")
    assert not uses_haproxy(Settings())


def test_under_systemd_a_node_stays_in_front():
    assert "--block" not in node.start_command("10.0.0.1", 6379)
    assert "--block" in node.start_command("10.0.0.1", 6379, block=True)


def test_a_head_keeps_the_dashboard_to_itself_and_starts_nodes_only_where_it_is_told(monkeypatch):
    monkeypatch.setattr(node, "detect", dict)
    command = node.lead_command(6380, block=True)
    assert {"--head", "--block", "--port=6380", "--dashboard-host=127.0.0.1"} <= set(command)
    assert not any("autoscaling" in part or part.startswith("--address") for part in command)
    told = node.lead_command(6380, block=True, autoscaling=Path("/home/engine/ray_bootstrap_config.yaml"))
    assert told == [*command, "--autoscaling-config=/home/engine/ray_bootstrap_config.yaml"]


def test_a_head_has_no_server_for_ray_clients_which_could_end_it(monkeypatch):
    from ray.scripts import scripts

    from engine import ray_start

    monkeypatch.setattr(scripts, "get_ray_client_dependency_error", lambda: None)
    errors = []
    monkeypatch.setattr(scripts, "main", lambda: errors.append(scripts.get_ray_client_dependency_error()))
    assert node.lead_command()[1:4] == ["-m", "engine.ray_start", "start"]
    ray_start.main()
    assert isinstance(errors[0], ImportError)


@pytest.fixture
def no_ray(monkeypatch):
    kept = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    yield
    os.environ.clear()
    os.environ.update(kept)


def test_a_node_takes_the_token_of_its_run_directory(tmp_path, monkeypatch, no_ray):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StartError, match=r"copy ray/token of the head's run directory to .*/run/ray/token"):
        node.find_token(tmp_path / "run", make=False)
    assert not (tmp_path / "run").exists()
    node.find_token(tmp_path / "run", make=True)
    token = tmp_path / "run" / "ray" / "token"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ.pop("RAY_AUTH_TOKEN_PATH") == str(token)
    assert token.stat().st_mode & 0o777 == 0o600
    written = token.read_text()
    node.find_token(tmp_path / "run", make=True)
    assert token.read_text() == written


def test_a_token_that_the_environment_has_is_left_alone(tmp_path, monkeypatch, no_ray):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
    node.find_token(tmp_path, make=False)
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_a_run_on_a_cluster_changes_nothing_of_the_clusters_haproxy(tmp_path, monkeypatch, no_ray):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    served = tmp_path / "haproxy" / ("a" * 56)
    served.mkdir(parents=True)
    run_dir = RunDir(tmp_path)
    try:
        assert prepare_environment(Settings(http="haproxy"), run_dir) == {}
    finally:
        run_dir.release()
    assert served.exists()
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
