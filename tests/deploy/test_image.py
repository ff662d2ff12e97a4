"""The image, built and run as compose does, with a nats-server of its own, where a container engine works."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from containers import DOCKERFILE, ROOT, SERVICES, found
from running_engine import START_S, lifecycle, until

pytestmark = lifecycle
PAGE = (ROOT / "docs/deployment.md").read_text()
BLOCK = re.search(r"^## Containers.*?```sh\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)[1]
SECRETS, _, FIRST_TOKEN = BLOCK.partition("docker compose ")
"""What the page has an operator do: files made with openssl, and then a token."""
GRACE_S = SERVICES["engine"]["stop_grace_period"].removesuffix("s")
INSIDE = """
import json, os
from factors import warm
from engine.nats_server import find_binary
print(json.dumps([os.getuid(), warm.marker().exists(), os.access(warm.ROOT, os.W_OK), str(find_binary())]))
"""


@pytest.fixture(scope="module")
def containers():
    made = found()
    try:
        made.build()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def operator(containers, tmp_path_factory):
    """What the operator made beside compose.yaml: secrets and certificates; gives the folder and his .env."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("operator")
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets", "certificates"))
    subprocess.run(["sh", "-euc", SECRETS], cwd=folder, check=True, timeout=60, capture_output=True)
    lines = (folder / "deploy/.env").read_text().splitlines()
    return folder / "deploy", dict(line.split("=") for line in lines)


class Composed:
    """The engine beside a nats-server, each as compose runs it; the server is the one of the engine's image."""

    def __init__(self, containers, deploy: Path, variables) -> None:
        self.containers = containers
        self.engine = containers.of("engine")
        options = {name: containers.options(name, deploy, variables) for name in ("nats", "engine")}
        containers("network", "create", containers.name)
        # The server's own image runs it as root.
        nats = ["--detach", "--name", containers.of("nats"), "--user", "0", "--entrypoint", "nats-server"]
        containers("run", *nats, *options["nats"], containers.image, *SERVICES["nats"]["command"])
        token = deploy / "secrets/read_token"
        token.touch()  # as the shell's redirection does before the container starts
        words = shlex.split(FIRST_TOKEN.replace("\\\n", "").partition(" engine ")[2].partition("|")[0])
        said = containers("run", "--rm", *options["engine"], containers.image, *words)
        self.token = said.splitlines()[-1]
        token.write_text(self.token + "\n")
        port = SERVICES["engine"]["ports"][0].rpartition(":")[2]
        self.port = port
        detached = ["--detach", "--name", self.engine, "--publish", f"127.0.0.1::{port}"]
        containers("run", *detached, *options["engine"], containers.image)

    def ask(self, path: str, token: str | None) -> httpx.Response:
        address = self.containers("port", self.engine, self.port).splitlines()[0]
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"http://{address}{path}", headers=headers, timeout=30.0, trust_env=False)

    def until_ready(self, starts: int) -> None:
        def ready() -> bool:
            log = self.containers.log("engine")
            assert self.containers.state("engine", "Running") == "true", log
            return len(re.findall("Ready after", log)) == starts

        until(ready, f"start {starts} is ready", START_S)

    def healthy(self) -> dict:
        found = {}

        def well() -> bool:
            found.update(self.ask("/health", self.token).json())
            return found["status"] == "healthy"

        until(well, "the engine is healthy", START_S)
        return found


@pytest.fixture(scope="module")
def composed(containers, operator):
    up = Composed(containers, *operator)
    up.until_ready(1)
    return up


def test_who_runs_in_the_image_finds_compiled_kernels_and_cannot_change_the_code(containers):
    said = containers("run", "--rm", "--entrypoint", "python", containers.image, "-c", INSIDE)
    user, compiled, may_write, nats = json.loads(said.splitlines()[-1])
    assert user == 10001
    assert compiled
    assert not may_write
    assert nats.startswith("/opt/engine/bin/")


def test_the_engine_is_healthy_on_a_server_with_tls_and_compiles_nothing(composed):
    assert composed.healthy()["messagebus_connected"]
    log = composed.containers.log("engine")
    assert "kernels are taken from beside the sources" in log
    assert {int(n) for n in re.findall(r"(\d+) functions compiled", log)} == {0}


def test_nobody_is_let_in_without_a_token_and_a_new_one_works_at_once(composed):
    assert composed.ask("/health", None).status_code == 401
    said = composed.containers("exec", composed.engine, "factor-engine", "token", "add", "desk", "--scope", "read")
    token = said.splitlines()[-1]
    until(lambda: composed.ask("/health", token).status_code == 200, "the new token is known", 30.0)


def test_the_health_check_of_the_image_passes(composed):
    found = re.search(r"^HEALTHCHECK .*?CMD (\[[^\n]+\])$", DOCKERFILE.read_text(), re.DOTALL | re.MULTILINE)
    command = json.loads(found[1])
    said = json.loads(composed.containers("exec", composed.engine, *command))
    assert said["models"]
    declared = composed.containers("image", "inspect", "--format", "{{json .}}", composed.containers.image)
    assert command[-1] in re.sub(r"\\u0026", "&", declared).replace('\\"', '"')


def test_nothing_is_written_but_into_the_volume_and_folders_of_memory(composed):
    mounted = [mount.split(":")[1] for mount in SERVICES["engine"]["volumes"]]
    mounted += [place.split(":")[0] for place in SERVICES["engine"]["tmpfs"]] + ["/run/secrets"]
    changed = [line.split()[1] for line in composed.containers("diff", composed.engine).splitlines()]
    # Places for mounts, and what the container engine puts there of its own.
    foreign = [path for path in changed if not any((mount + "/").startswith(path + "/") for mount in mounted)]
    foreign = [path for path in foreign if not path.startswith(("/etc", "/run/", "/dev", "/proc", "/sys"))]
    assert foreign == []


def test_a_stop_is_clean_and_the_next_start_has_the_models_of_the_volume(composed):
    before = composed.healthy()
    composed.containers("stop", "-t", GRACE_S, composed.engine)
    assert composed.containers.state("engine", "ExitCode") == "0"
    assert "stopped in" in composed.containers.log("engine")
    composed.containers("start", composed.engine)
    composed.until_ready(2)
    after = composed.healthy()
    versions = [[(m["model_id"], m["model_version"]) for m in health["models"]] for health in (before, after)]
    assert versions[0] == versions[1] != []
    # The kernels are in the volume by now.
    assert composed.containers.log("engine").count("kernels are taken from beside the sources") == 1
