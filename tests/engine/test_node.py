import json

from contracts.settings import Settings
from contracts.work import Device
from devices.detect import Detection
from engine import node
from engine.cluster import prepare_environment, uses_haproxy
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
    import os
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
