"""What the doctor finds on machines that lack something."""

import os
import socket
from pathlib import Path

import pytest

from contracts.settings import Settings
from engine import kernel_cache
from launch.command import doctor
from launch.command.doctor import findings


def of(name, found):
    return next(one for one in found if one.what == name)


def test_a_good_machine_is_well(tmp_path):
    found = findings(Settings(run_dir=tmp_path / "run", http_port=_free(), nats_port=_free()))
    assert {one.what for one in found if one.state == "cannot run"} == set()
    assert of("Python", found).state == "well"
    assert of("HTTP port", found).state == "well"
    assert all(bool(one.mend) == (one.state != "well") for one in found)
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_named_with_its_holder_and_the_setting(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = of("HTTP port", findings(Settings(run_dir=tmp_path, http_port=port, nats_port=_free())))
    assert found.state == "cannot run"
    assert str(port) in found.detail
    assert f"pid {os.getpid()}" in found.detail
    assert "FACTOR_ENGINE_HTTP_PORT" in found.mend


def test_too_few_open_files_stop_a_run_and_few_are_worth_knowing(tmp_path, monkeypatch):
    for hard, state in ((256, "cannot run"), (1024, "worth knowing"), (65_536, "well")):
        monkeypatch.setattr(doctor.resource, "getrlimit", lambda _, hard=hard: (hard, hard))
        assert of("open files", findings(Settings(run_dir=tmp_path))).state == state


def test_without_programs_it_says_what_does_without(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "find_binary", _raise(doctor.NatsServerError("no nats-server: install one")))
    monkeypatch.setattr(doctor.haproxy, "binary", _raise(doctor.StartError("there is none.")))
    found = findings(Settings(run_dir=tmp_path))
    assert of("nats-server", found).state == "cannot run"
    assert "MESSAGEBUS_ENABLED" in of("nats-server", found).mend
    without = findings(Settings(run_dir=tmp_path, messagebus_enabled=False, http="uvicorn"))
    assert not {"nats-server", "HAProxy", "NATS port"} & {one.what for one in without}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_for_users(tmp_path):
    tmp_path.chmod(0o500)
    assert of("run directory", findings(Settings(run_dir=tmp_path / "run"))).state == "cannot run"


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    real = os.access
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: tmp_path != path and real(path, mode))
    found = of("run directory", findings(Settings(run_dir=tmp_path / "run")))
    assert found.state == "cannot run"
    assert "FACTOR_ENGINE_RUN_DIR" in found.mend


def test_an_object_store_is_tried_and_one_that_ignores_conditions_cannot_run(tmp_path, s3):
    current = Settings(run_dir=tmp_path, store="s3://store/prefix")
    assert of("object store", findings(current)).state == "well"
    s3.ignores_conditions = True
    found = of("object store", findings(current))
    assert found.state == "cannot run"
    assert "commits need conditional puts" in found.detail


def test_little_room_and_little_memory_are_worth_knowing(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "room", lambda _: None)
    found = findings(Settings(run_dir=tmp_path))
    assert of("run directory", found).state == "worth knowing"
    monkeypatch.setattr(doctor, "MEMORY_MB", 10**9)
    assert of("memory", findings(Settings(run_dir=tmp_path))).state == "worth knowing"


def test_what_cannot_be_looked_at_says_so_and_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.psutil, "virtual_memory", _raise(OSError("no /proc")))
    found = findings(Settings(run_dir=tmp_path))
    assert "no /proc" in of("memory", found).detail
    assert of("kernels", found).state == "well"


def test_where_the_kernels_go_is_told_as_a_run_chooses_it(tmp_path, monkeypatch):
    monkeypatch.delenv(kernel_cache.VARIABLE, raising=False)
    assert "beside the sources" in of("kernels", findings(Settings(run_dir=tmp_path))).detail
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "factors" not in Path(path).parts and real(path, mode))
    assert str(tmp_path / "kernels") in of("kernels", findings(Settings(run_dir=tmp_path))).detail
    assert kernel_cache.choose(tmp_path) == (tmp_path / "kernels", "engine")
    assert not (tmp_path / "kernels").exists()
    monkeypatch.setenv(kernel_cache.VARIABLE, "/named")
    assert "/named" in of("kernels", findings(Settings(run_dir=tmp_path))).detail


def test_the_exit_code_says_whether_an_engine_can_run(monkeypatch, capsys):
    for state, code in (("well", 0), ("worth knowing", 0), ("cannot run", 1)):
        monkeypatch.setattr(doctor, "findings", lambda _, state=state: [doctor.Finding("x", state, "seen")])
        assert doctor.examine() == code
    assert "cannot run" in capsys.readouterr().out


def _free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _raise(error):
    def raising(*_):
        raise error

    return raising
