"""A run on a cluster ends with its machine's Ray, also while the engine starts: else no head could start again."""

from __future__ import annotations

import socket

import pytest
from fixtures_ray import short_folder
from rich.console import Console

from contracts.settings import Settings
from engine import joined
from engine.errors import StartError
from engine.run_dir import RunDir
from launch.signals import Signals
from launch.supervisor import Supervisor


def test_a_run_ends_with_the_ray_that_its_start_joined(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as raylet:
        raylet.bind(str(folder / "raylet"))
        raylet.listen()
        run_dir = RunDir(folder / "run")
        signals = Signals()
        run = Supervisor(Settings(run_dir=run_dir.path), run_dir, [], Console(), signals)
        run._look()
        joined.note(run_dir.path, folder / "raylet")
        run._look()
        accepted, _ = raylet.accept()
        run._look()
        accepted.close()
        with pytest.raises(StartError, match="the Ray that RAY_ADDRESS names ended"):
            run._look()
        assert run.line is not None
        for end in (run.line, signals._ours, signals._kernels):
            end.close()
        run_dir.release()
