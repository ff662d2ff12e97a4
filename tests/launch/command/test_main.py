"""The command as a user calls it."""

import subprocess
import sys
from pathlib import Path

import pytest

from clients.http import HttpEngine
from clients.watch import main as watch
from contracts.errors import Unavailable
from launch.command.main import main
from launch.command.nouns import BUS, NOUNS

ROOT = Path(__file__).parents[3]


def called(*words, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-m", "launch", *words],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_help_names_every_command_and_the_exit_codes():
    done = subprocess.run(
        [sys.executable, "-m", "launch.command", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for name in ("run", "stop", "status", "doctor", "risk", "token", "completion", *NOUNS, *BUS):
        assert f"\n  {name} " in done.stdout, name
    assert "Exit codes: 0 done" in done.stdout


def test_help_reads_neither_the_operation_table_nor_ray():
    script = (
        "import sys; from launch.command.main import main; main(['--help']); "
        "print([m for m in ('pydantic', 'contracts.operations', 'ray', 'polars', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_word_behind_python_m_launch_is_the_command():
    done = called("book", "list", "--url", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr


def test_tokens_are_made_as_before(tmp_path):
    done = called("token", "add", "risk", "--scope", "read", FACTOR_ENGINE_RUN_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    listed = called("token", "list", FACTOR_ENGINE_RUN_DIR=str(tmp_path))
    assert "risk" in listed.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_shells(shell):
    done = called("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_FACTOR_ENGINE_COMPLETE" in done.stdout


def test_a_shell_that_asks_gets_the_verbs():
    done = called("book", _FACTOR_ENGINE_COMPLETE="bash_complete", COMP_WORDS="factor-engine book ", COMP_CWORD="2")
    assert "plain,risk" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["status"], ("GET", "/messagebus/status")),
        (["mode", "publish"], ("PUT", "/messagebus/mode")),
        (["letters", "--after", "3"], ("GET", "/messagebus/dead-letters")),
        (["letter", "7"], ("GET", "/messagebus/dead-letters/7")),
        (["resend", "7"], ("POST", "/messagebus/dead-letters/7/resend")),
        (["events", "--subject", "factor.live.*"], ("GET", "/messagebus/events")),
    ],
)
def test_the_bus_is_asked_by_its_own_routes(words, asked, monkeypatch, capsys):
    seen = []

    async def answer(_self, method, path, _how, **options):
        seen.append((method, path, options.get("params") or options.get("content")))
        return {"mode": "publish", "last": 4}

    monkeypatch.setattr(HttpEngine, "_request", answer)
    assert main(["bus", *words, "--json"]) == 0
    assert seen[0][:2] == asked
    assert '"last": 4' in capsys.readouterr().out


def test_what_the_bus_refuses_is_told_with_its_exit_code(monkeypatch, capsys):
    async def away(*_args, **_options):
        raise Unavailable("NATS is not connected")

    monkeypatch.setattr(HttpEngine, "_request", away)
    assert main(["bus", "letters"]) == 3
    assert "NATS is not connected" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["status"], ["model", "list"], ["bus", "status"], ["page", "/health"]])
def test_an_address_that_is_none_is_a_wrong_command_line(words, capsys):
    assert main([*words, "--url", "nonsense"]) == 2
    assert "'--url': 'nonsense' is no address of an engine" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["model", "list"], ["bus", "letters"], ["page", "/health"], ["doctor"]])
def test_a_file_that_cannot_be_written_is_told_with_its_name(words, monkeypatch, tmp_path, capsys):
    async def answer(_self, *_args, **_options):
        return {"models": [{"model_id": "m", "model_version": 1}], "letters": [{"id": 1}], "last": 1}

    monkeypatch.setattr(HttpEngine, "_request", answer)
    monkeypatch.setattr(HttpEngine, "send", answer)
    file = tmp_path / "nowhere" / "x.arrow"
    assert main([*words, "--arrow", str(file)]) == 1
    assert f"{file} cannot be written: No such file" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device here that is always full")
@pytest.mark.parametrize("words", [["completion", "bash"], ["doctor"], ["doctor", "--json"]])
def test_an_output_that_takes_nothing_is_told(words):
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "launch.command", *words],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=120, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.decode().splitlines()[-1] == "the answer cannot be written: No space left on device"
    assert "Traceback" not in ran.stderr.decode()


def test_the_run_directory_of_the_environment_is_followed(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path / "mine"))
    assert main(["watch", "follow", "desk"]) == 1
    assert str(tmp_path / "mine") in capsys.readouterr().err
    assert watch(["desk"]) == 1
    assert str(tmp_path / "mine") in capsys.readouterr().err
