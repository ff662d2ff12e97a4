"""The wheel carries all that it needs: installed into an empty environment in an empty folder, it works."""

import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import httpx
import pytest
from running_engine import START_S, lifecycle, until

from engine.ports import free_port

ROOT = Path(__file__).parents[2]
OF_THE_PROJECT = {".md", ".pyc"}
"""What lies in a room and is for its developers."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    sources = tmp_path_factory.mktemp("sources") / "project"
    # From what is committed or about to be, and elsewhere: the build writes beside its sources.
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("the project is no git checkout here")
    for name in listed.stdout.splitlines():
        if not name.startswith(("tests/", "docs/", "benchmarks/", "oracles/")) and (ROOT / name).is_file():
            target = sources / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(out),
    ]
    subprocess.run([*command, "."], cwd=sources, check=True, timeout=300)
    (made,) = out.glob("*.whl")
    return made, sources


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel, and with what the lock installs; without the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install", "--no-deps", "--no-index"]
    own_path = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # or it is "there already"
    subprocess.run([*pip, str(wheel[0])], check=True, timeout=300, env=own_path)
    (own,) = (folder / "venv").glob("lib/python*/site-packages")
    # Put there as a plain path, so that the link to the checkout that lies in it is not followed.
    (own / "locked.pth").write_text("\n".join(site.getsitepackages()))
    empty = folder / "empty"
    empty.mkdir()
    return folder / "venv/bin", empty


def run(installed, *words, **environment):
    programs, empty = installed
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COVERAGE_PROCESS_START")}
    own |= {"FACTOR_ENGINE_RUN_DIR": str(empty / "run"), **environment}
    return subprocess.run(
        [str(programs / words[0]), *words[1:]],
        cwd=empty,
        env=own,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_everything_that_lies_in_the_rooms_is_in_the_wheel(wheel):
    made, sources = wheel
    inside = set(zipfile.ZipFile(made).namelist())
    rooms = {name.split("/")[0] for name in inside if name.endswith("/__init__.py")}
    assert {"factors", "actors", "web", "launch", "engine"} <= rooms
    there = {
        str(path.relative_to(sources))
        for room in rooms
        for path in (sources / room).rglob("*")
        if path.is_file() and path.suffix not in OF_THE_PROJECT
    }
    assert there - inside == set()


def test_it_is_the_wheel_that_runs_and_it_finds_its_data(installed):
    script = "import factors, web, serve_app; print(factors.__file__)"
    found = run(installed, "python", "-c", script)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip().startswith(str(installed[0].parent))


def test_the_command_is_installed_and_the_doctor_is_content(installed):
    assert "Exit codes" in run(installed, "factor-engine", "--help").stdout
    ports = {"FACTOR_ENGINE_HTTP_PORT": str(free_port()), "FACTOR_ENGINE_NATS_PORT": str(free_port())}
    seen = run(installed, "factor-engine", "doctor", **ports)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert str(installed[0].parent) in run(installed, "python", "-c", "import launch; print(launch.__file__)").stdout


def test_the_catalogue_is_read_from_the_wheel(installed):
    script = "from factors.library.definitions.catalogue import Catalogue; print(len(Catalogue.load().entries))"
    found = run(installed, "python", "-c", script)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > 590


@lifecycle
def test_an_engine_starts_from_the_wheel(installed):
    programs, empty = installed
    port = free_port()
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("RAY_")}
    own |= {
        "FACTOR_ENGINE_RUN_DIR": str(empty / "run"),
        "FACTOR_ENGINE_HTTP_PORT": str(port),
        "FACTOR_ENGINE_NATS_PORT": str(free_port()),
    }
    with (empty / "log").open("wb") as log:
        process = subprocess.Popen([str(programs / "factor-engine"), "run"], cwd=empty, env=own, stdout=log, stderr=log)
    try:

        def healthy():
            assert process.poll() is None, (empty / "log").read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5.0).json()["status"] == "healthy"
            except (httpx.HTTPError, ValueError):
                return False

        until(healthy, "the engine is healthy", START_S)
    finally:
        process.terminate()
        process.wait(30)
