"""A container engine as tests drive it: podman, or docker with its daemon. Services run as compose.yaml has them."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "deploy/Dockerfile"
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
BUILD_OPTIONS = "FACTOR_ENGINE_TEST_BUILD_OPTIONS"
"""More options for the build, as a shell reads them: a mount of pip's settings where pip needs some."""
IMAGE = "FACTOR_ENGINE_TEST_IMAGE"
"""An image of this tree that is there: it is run, and none is built."""
BUILD_S, PULL_S = 1800.0, 300.0


class Containers:
    """One container engine; whatever is made with it carries `name` and is gone after `remove`."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = f"factor-engine-test-{secrets.token_hex(4)}"
        self.image = os.environ.get(IMAGE, self.name)

    def __call__(self, *words: str, timeout: float = 120.0, **options: Any) -> str:
        done = self.tried(*words, timeout=timeout, **options)
        assert done.returncode == 0, f"{self.program} {shlex.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def tried(self, *words: str, timeout: float = 120.0, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [self.program, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)

    def of(self, service: str) -> str:
        """Give the name that a service's container and volume have."""
        return f"{self.name}-{service}"

    def build(self) -> None:
        """Build the image, or skip where what it is built on cannot be had."""
        if self.image != self.name:
            self._probe(self.image)
            return
        (base,) = set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE))
        if self.tried("image", "inspect", base).returncode:
            pulled = self.tried("pull", base, timeout=PULL_S)
            if pulled.returncode:
                pytest.skip(f"{self.program} pull {base}: {_last_line(pulled.stderr)}")
        self._probe(base)
        # podman's own format has no health check, and it keeps what the steps made as images without a name.
        own = ["--format", "docker", "--layers=false"] if self.program == "podman" else []
        more = shlex.split(os.environ.get(BUILD_OPTIONS, ""))
        self("build", *own, *more, "--file", str(DOCKERFILE), "--tag", self.name, str(ROOT), timeout=BUILD_S)

    def _probe(self, image: str) -> None:
        """Skip where no container can be started: an engine may answer without the rights or cgroups that it needs."""
        done = self.tried("run", "--rm", "--entrypoint", "python", image, "-c", "")
        if done.returncode:
            pytest.skip(f"{self.program} run: {_last_line(done.stderr)}")

    def options(self, service: str, deploy: Path, variables: Mapping[str, str]) -> list[str]:
        """Give the options that run a service as compose does; `deploy` has the operator's files."""
        row = SERVICES[service]
        # A limit above what the machine has is refused by docker.
        words = ["--cpus", str(min(row["cpus"], os.cpu_count() or 1)), "--memory", row["mem_limit"]]
        words += ["--network", self.name, "--network-alias", service]
        words += ["--read-only"] if row.get("read_only") else []
        podman = self.program == "podman"
        if podman and row.get("read_only"):
            words.append("--read-only-tmpfs=false")  # docker has no such folders
        for place in row.get("tmpfs", ()):
            words += ["--tmpfs", f"{place},noexec" if podman else place]  # docker's are so by themselves
        words += ["--shm-size", row["shm_size"]] if "shm_size" in row else []
        for option in ("cap_drop", "cap_add", "security_opt"):
            for value in row.get(option, ()):
                words += [f"--{option.replace('_', '-')}", value]
        for name, value in row.get("environment", {}).items():
            wanted = re.fullmatch(r"\$\{(\w+).*\}", value)
            words += ["--env", f"{name}={variables[wanted[1]] if wanted else value}"]
        mounts = [*row["volumes"], *(f"./secrets/{name}:/run/secrets/{name}:ro" for name in row.get("secrets", ()))]
        for mount in mounts:
            source, _, rest = mount.partition(":")
            words += ["--volume", f"{deploy / source if source.startswith('.') else self.of(source)}:{rest}"]
        return words

    def log(self, service: str) -> str:
        """Give what a service's container has said."""
        done = self.tried("logs", self.of(service))
        return done.stdout + done.stderr

    def state(self, service: str, field: str) -> str:
        return self("inspect", "--format", f"{{{{.State.{field}}}}}", self.of(service))

    def remove(self) -> None:
        """Remove every container, volume, network and image that was made."""
        for service in SERVICES:
            self.tried("rm", "--force", "--volumes", self.of(service))
            self.tried("volume", "rm", self.of(service))
        self.tried("network", "rm", self.name)
        self.tried("image", "rm", self.name)


def found() -> Containers:
    """Give the container engine that answers, or skip with what each one said."""
    reasons = []
    for program in ("podman", "docker"):
        if shutil.which(program) is None:
            reasons.append(f"there is no {program}")
            continue
        containers = Containers(program)
        asked = containers.tried("info")
        if asked.returncode == 0:
            return containers
        reasons.append(f"{program} info: {_last_line(asked.stderr)}")
    pytest.skip("; ".join(reasons))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]
