"""What verbs share that are none of the operation table's: examples in their help, JSON and Arrow, completion."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner

from clients.http import HttpEngine
from contracts.settings import settings
from contracts.tokens import Scope, add_token, token_file
from launch import tokens
from launch.command import call, common, doctor
from launch.command.main import cli, main
from launch.command.nouns import BUS, NOUNS

ROOT = Path(__file__).parents[3]


def commands():
    """Every command that there is, with its words."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        one = cli.get_command(context, name)
        if isinstance(one, click.Group):
            inner = click.Context(one, info_name=name)
            for verb in one.list_commands(inner):
                yield (name, verb), one.get_command(inner, verb)
        else:
            yield (name,), one


ALL = dict(commands())
PASSED = {("run",), ("stop",), ("token",)}


def test_every_command_is_seen():
    assert {words[0] for words in ALL} >= {*NOUNS, *BUS, "status", "doctor", "page", "risk", "completion", "run"}
    assert ("watch", "follow") in ALL
    assert len(ALL) > 70


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_of_every_command_has_an_example_that_its_own_parser_takes(words):
    epilog = ALL[words].epilog
    assert epilog.startswith("Example: ")
    line = epilog.removeprefix("Example: ")
    if words == ("completion",):
        line = line.removeprefix('eval "$(').removesuffix(')"')
    given = shlex.split(line)
    assert tuple(given[: 1 + len(words)]) == ("factor-engine", *words)
    rest = given[1 + len(words) :]
    if words in PASSED:
        assert words != ("token",) or tokens._parser().parse_args(rest).command == "add"
        shown = subprocess.run(
            [sys.executable, "-m", "launch.command", *words, "--help"], cwd=ROOT, capture_output=True, text=True,
            timeout=120, check=True,
        ).stdout  # fmt: skip
        assert epilog in shown
        return
    ALL[words].make_context(words[-1], rest)  # raises what a wrong line is told
    assert "".join(epilog.split()) in "".join(CliRunner().invoke(cli, [*words, "--help"]).output.split())


@pytest.mark.parametrize("words", [words for words in ALL if words not in PASSED], ids=" ".join)
def test_json_and_arrow_are_everywhere_where_there_is_an_answer(words):
    options = {option for param in ALL[words].params for option in param.opts}
    if words == ("completion",):
        return
    assert "--json" in options
    assert "--arrow" in options or words == ("watch", "follow")  # which goes on until it is ended


@pytest.fixture
def health(monkeypatch):
    page = {
        "status": "degraded", "messagebus_connected": True, "factor_definitions_loaded": 3,
        "degraded": [{"component": "store", "reason": "full"}],
        "models": [{
            "model_id": "m", "model_version": 2, "first_date": "a", "last_date": "b", "n_assets": 5, "factors": ["x"],
        }],
    }  # fmt: skip

    async def get(_self, _path):
        return page

    monkeypatch.setattr(HttpEngine, "get", get)
    return page


def test_status_and_pages_as_json_and_arrow(health, tmp_path, capfdbinary):
    file = tmp_path / "x.arrow"
    assert main(["status", "--json"]) == call.FAILED  # degraded
    assert json.loads(capfdbinary.readouterr().out) == health
    assert main(["status", "--arrow", str(file)]) == call.FAILED
    assert pl.read_ipc(file).row(0, named=True)["model"] == "m"
    assert main(["page", "/health", "--arrow", str(file)]) == 0
    assert "factors" in pl.read_ipc(file).columns
    capfdbinary.readouterr()
    assert main(["page", "/health"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == health


def test_bus_and_doctor_as_arrow(monkeypatch, tmp_path, capfdbinary):
    async def answer(_self, _method, _path, _how, **_options):
        return {"letters": [{"id": 1, "subject": "a"}, {"id": 2, "subject": "b"}], "last": 2}

    monkeypatch.setattr(HttpEngine, "_request", answer)
    file = tmp_path / "x.arrow"
    assert main(["bus", "letters", "--arrow", str(file)]) == 0
    assert pl.read_ipc(file)["subject"].to_list() == ["a", "b"]
    found = [doctor.Finding("memory", "well", "much"), doctor.Finding("port", "cannot run", "taken", "end it")]
    monkeypatch.setattr(doctor, "findings", lambda _: found)
    assert main(["doctor", "--arrow", str(file)]) == 1
    assert pl.read_ipc(file)["mend"].to_list() == ["", "end it"]
    capfdbinary.readouterr()
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capfdbinary.readouterr().out)["can_run"] is False


def test_tokens_are_listed_without_themselves(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    try:
        secret = add_token(token_file(settings()), "risk", Scope.READ, 5.0)
        assert main(["token", "list", "--json"]) == 0
        text = capfdbinary.readouterr().out
        assert json.loads(text) == {"tokens": [{"name": "risk", "scope": "read", "per_second": 5.0}]}
        assert secret.encode() not in text
    finally:
        settings.cache_clear()


def completed(function, text):
    return [item.value for item in function(None, None, text)]


def test_formulas_are_completed_from_the_languages_own_table():
    assert completed(common.formulas, "rank(ts_mea") == ["rank(ts_mean("]
    assert "ts_mean(close" in completed(common.formulas, "ts_mean(clo")
    assert "group_neutralize(x, sector" in completed(common.formulas, "group_neutralize(x, sec")
    assert completed(common.formulas, "rank(close)") == []
    assert completed(common.formulas, "nothing_like_it") == []
    assert {item.value: item.help for item in common.formulas(None, None, "ts_mea")}["ts_mean("] == "mean(x, d)"


def test_names_of_factors_are_completed_behind_a_comma():
    found = completed(common.factors, "alpha101_001,alpha101_10")
    assert "alpha101_001,alpha101_101" in found
    assert all(one.startswith("alpha101_001,alpha101_10") for one in found)


@pytest.fixture
def shell_environment(tmp_path):
    """An environment of shells in which `factor-engine` is the command of this tree."""
    script = tmp_path / "factor-engine"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m launch.command "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}


LINES = {
    ("fac",): ["factor"],
    ("book", "attr"): ["attribution"],
    ("book", "risk", "--bench"): ["--benchmark", "--benchmark-weights"],
    ("factor", "show", "barra_rst"): ["barra_rstr"],
    ("factor", "rank", "barra_rstr,barra_dast"): ["barra_rstr,barra_dastd"],
    ("factor", "evaluate", "'rank(ts_mea"): ["rank(ts_mean("],
    ("factor", "evaluate", "'ts_cov(close, vwa"): ["ts_cov(close, vwap"],
}
"""What is typed, the last word not to its end, and what it is completed to."""


def in_shell(environment, *command):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=environment, input=""
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes_nouns_verbs_options_and_formulas(shell_environment):
    lines = ['eval "$(factor-engine completion bash)"']
    for words in LINES:
        quoted = shlex.join(["factor-engine", *words])
        lines.append(
            f"COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; COMPREPLY=(); _factor_engine_completion factor-engine"
        )
        lines.append('printf "%s|" "${COMPREPLY[@]}"; echo')
    told = in_shell(shell_environment, "bash", "-c", "\n".join(lines)).splitlines()
    assert [sorted(line.rstrip("|").split("|")) for line in told] == list(LINES.values())


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_a_real_fish_completes_nouns_verbs_options_and_formulas(shell_environment):
    for words, found in LINES.items():
        line = f"factor-engine completion fish | source; complete -C {shlex.quote(' '.join(['factor-engine', *words]))}"
        told = in_shell(shell_environment, "fish", "--no-config", "-c", line)
        assert sorted(one.split("\t")[0].strip("'") for one in told.splitlines()) == found


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_a_real_zsh_completes_nouns_verbs_options_and_formulas(shell_environment):
    doubles = "compdef() { : }\n_describe() { print -l -- ${(P)3} }\ncompadd() { print -l -- ${(P)5} }\n"
    script = f'{doubles}eval "$(factor-engine completion zsh)"\n'
    for words, found in LINES.items():
        typed = " ".join(shlex.quote(word) for word in ("factor-engine", *words))
        told = in_shell(
            shell_environment, "zsh", "-f", "-c",
            f"{script}words=({typed}); CURRENT={len(words) + 1}; _factor_engine_completion",
        )  # fmt: skip
        assert sorted(line.split(":")[0] for line in told.splitlines()) == found


def by_fish(script, told):
    """What fish makes of the answer: each line is parted at so many commas, and what follows a tab is told beside."""
    most = int(re.search(r'string split --max (\d+) "," \$completion', script)[1])
    return [line.split("\t")[0].split(",", most)[:2] for line in told.splitlines()]


def by_zsh(script, told):
    """What zsh makes of the answer: three lines are a completion; `_describe` reads colons with a stroke."""
    assert "for type key descr in ${response}" in script
    lines = told.splitlines()
    assert len(lines) % 3 == 0
    triples = zip(lines[::3], lines[1::3], lines[2::3], strict=True)
    return [[kind, key if said == "_" else key.replace("\\:", ":")] for kind, key, said in triples]


@pytest.mark.parametrize(("shell", "reads"), [("fish", by_fish), ("zsh", by_zsh)])
@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_what_a_shell_asks_for_is_completed_as_its_script_reads_it(shell, reads, words, shell_environment):
    """The script is not run: the shell may not be here. It is asked what the script asks, and read as it reads."""
    script = in_shell(shell_environment, "factor-engine", "completion", shell)
    # fish gives the word that is typed, zsh its number.
    asks = {
        "_FACTOR_ENGINE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(["factor-engine", *words]),
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
    }
    assert f"_FACTOR_ENGINE_COMPLETE={shell}_complete" in script
    assert all(f"{name}=" in script for name in asks)
    told = in_shell({**shell_environment, **asks}, "factor-engine")
    assert sorted(value for kind, value in reads(script, told) if kind == "plain") == LINES[words]
