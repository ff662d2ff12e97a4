"""What an operator copies: every file that is named is there, every command exists, and linters have nothing to say."""

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fixtures_certificates import Authority

from contracts.settings import TOKENS, Settings
from engine import nats_deployed
from engine.nats_roles import roles
from engine.nats_server import find_binary

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OTHER_VARIABLES = {"FACTOR_ENGINE_TOKEN", "FACTOR_ENGINE_HEAD", TOKENS}
"""Not settings: the client's token, the node unit's own, and the tokens in the environment."""


def linter(name):
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip(f"there is no {name}")


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr


def copied():
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            yield from line.split()[1:-1]


def test_every_file_that_the_image_copies_is_there_and_let_into_the_build():
    allowed = (ROOT / ".dockerignore").read_text().split()
    for name in copied():
        assert (ROOT / name).exists(), name
        assert f"!{name}" in allowed, name


def test_the_image_has_every_room_of_the_package():
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in packages} <= set(copied())


def test_the_image_is_of_the_locked_python_and_of_nobody_in_particular():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", bases[0])
    assert "--require-hashes" in DOCKERFILE
    user = re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1]
    assert int(user) > 0


@pytest.mark.parametrize(
    "name", ["Dockerfile", "compose.yaml", "kubernetes/engine.yaml", "systemd/factor-engine.service"]
)
def test_a_run_is_told_no_place_of_its_kernels(name):
    """It takes those that are compiled beside the sources into its run directory, but not where a place was named."""
    text = (DEPLOY / name).read_text()
    assert not re.search(r"NUMBA_CACHE_DIR\s*[=:]|name: NUMBA_CACHE_DIR", text)


def test_settings_that_the_files_set_exist():
    known = {f"FACTOR_ENGINE_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    for path in sorted(path for path in DEPLOY.rglob("*") if path.is_file()):
        named = set(re.findall(r"FACTOR_ENGINE_[A-Z_]+[A-Z]", path.read_text()))
        assert named <= known, f"{path.name}: {named - known}"


def test_files_that_compose_mounts_are_there_or_made_by_the_operator():
    made = {"./certificates", "./certificates/ca.pem", "./secrets/read_token"}
    sources = [volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]]
    sources += [secret["file"] for secret in COMPOSE["secrets"].values()]
    for source in sources:
        if source.startswith("."):
            assert source in made or (DEPLOY / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source
    page = (ROOT / "docs/deployment.md").read_text()
    for source in made:
        assert source.removeprefix("./") in page, source
    build = COMPOSE["services"]["engine"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_compose_opens_everything_on_loopback_only():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_the_nats_configuration_is_that_of_the_roles():
    assert (DEPLOY / "nats/nats.conf").read_text() == nats_deployed.text()
    given = set(COMPOSE["services"]["nats"]["environment"])
    assert given == {f"NATS_{name.upper()}_PASSWORD" for name in ("engine", *(role.name for role in roles()))}


def test_a_real_nats_server_takes_the_configuration(tmp_path):
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.certificate("nats")
    text = nats_deployed.text().replace("/data/jetstream", str(tmp_path / "jetstream"))
    text = text.replace("/etc/nats/certificates/nats.pem", str(certificate))
    text = text.replace("/etc/nats/certificates/nats-key.pem", str(key))
    text = text.replace("/etc/nats/certificates/ca.pem", str(authority.path))
    config = tmp_path / "nats.conf"
    config.write_text(text)
    passwords = {name: f"of-{n}" for n, name in enumerate(COMPOSE["services"]["nats"]["environment"])}
    run(str(find_binary()), "-t", "-c", str(config), env={**os.environ, **passwords})


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_commands_of_the_units_exist(unit):
    command = re.search(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)[1].split()
    program = Path(command[0])
    assert program.parent == Path("/opt/factor-engine/bin")
    if program.name == "python":
        assert command[1:3] == ["-m", "launch.node"]
        run(sys.executable, "-m", "launch.node", "--help", cwd=ROOT)
        assert set(re.findall(r"--\w+", " ".join(command[3:]))) <= {"--block", "--head", "--lead"}
    else:
        assert program.name == "factor-engine"
        assert command[1:] == ["run"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_the_units(unit, tmp_path):
    analyze = linter("systemd-analyze")
    text = re.sub(r"/opt/factor-engine/bin/\S+", "/bin/true", unit.read_text())
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.MULTILINE))
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False)
    assert unit.name not in done.stderr, done.stderr


def test_the_launchd_file_is_a_property_list_that_starts_a_node():
    found = plistlib.loads((DEPLOY / "launchd/org.factor-engine.node.plist").read_bytes())
    assert found["ProgramArguments"][1:4] == ["-m", "launch.node", "--block"]
    assert found["KeepAlive"] is True


def test_panels_have_different_places_and_numbers():
    panels = json.loads((DEPLOY / "grafana/dashboards/factor-engine.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_hadolint_has_nothing_to_say():
    run(linter("hadolint"), str(DEPLOY / "Dockerfile"))


def test_compose_lint_has_nothing_serious_to_say():
    run(linter("compose-lint"), str(DEPLOY / "compose.yaml"))


def test_kubernetes_takes_the_manifests():
    run(linter("kubernetes-validate"), *map(str, sorted((DEPLOY / "kubernetes").glob("*.yaml"))))


def test_promtool_takes_the_rules_and_the_configuration(tmp_path):
    promtool = linter("promtool")
    run(promtool, "check", "rules", str(DEPLOY / "prometheus/alerts.yml"))
    run(promtool, "check", "config", "--syntax-only", str(DEPLOY / "prometheus/prometheus.yml"))
