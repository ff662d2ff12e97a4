"""Modules that are named as text: no import breaks when one is moved, so each is looked up or started here."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from router.placement import CLASS_PATHS

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
PAGES = [ROOT / "Makefile", ROOT / "cluster.yaml", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "pyproject.toml"]
PAGES += [path for path in ROOT.glob(".ci/*") if path.is_file()]
# These write pages or compile kernels whatever they are told; the tests of pages and kernels run them.
WRITES = {"bus.document", "clients.generate", "factors.warm", "web.document"}


def sources() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")] + list(ROOT.glob("benchmarks/*.py"))


def started() -> set[str]:
    """List what `python -m` starts, in pages and in our own code."""
    found: set[str] = set()
    for page in PAGES:
        found |= set(re.findall(r"python3? -m ([a-z_][\w.]*\w)(?!\w|\.<|\.\w)", page.read_text()))
    for source in sources():
        found |= set(re.findall(r'"-m",\s*"([a-z_][\w.]*)"', source.read_text()))
    return {name for name in found if name.partition(".")[0] in ROOMS}


def entry(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"python -m {module} is written somewhere, and there is no such module"
    if spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
        assert spec is not None, f"python -m {module} is written somewhere, and it has no __main__"
    return Path(str(spec.origin))


def test_pages_and_code_start_modules():
    assert {"engine", "launch", "launch.node", "jobs.recompute", "factors.warm", "engine.market_file"} <= started()


CHILDREN = {
    "actors.learning.estimator_process",
    "bus.read_process",
    "devices.kernel_process",
    "engine.ray_head",
    "engine.ray_start",
    "launch.foreground",
}
"""Started by us, with arguments that nobody types; tests of a run start them."""


@pytest.mark.parametrize("module", sorted(started()))
def test_what_python_m_starts_is_there_and_does_something(module):
    path = entry(module)
    assert path.name == "__main__.py" or '__name__ == "__main__"' in path.read_text()


@pytest.mark.parametrize("module", sorted(started() - WRITES - CHILDREN))
def test_what_python_m_starts_tells_its_usage(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "usage:" in done.stdout + done.stderr, done.stderr


@pytest.mark.parametrize("path", sorted(CLASS_PATHS.values()))
def test_every_workload_class_is_where_its_path_says(path):
    module, _, name = path.partition(":")
    found = getattr(importlib.import_module(module), name)
    assert found.__module__ == module


def texts(call: str) -> list[tuple[str, str]]:
    """List the modules that code names as text in calls of a function, with the file that does."""
    out = []
    for source in sources():
        text = source.read_text()
        for node in ast.walk(ast.parse(text)) if call in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(call) and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    out.append((first.value, str(source.relative_to(ROOT))))
    return sorted(set(out))


@pytest.mark.parametrize(("module", "source"), texts("import_module"))
def test_modules_that_code_imports_by_name_are_there(module, source):
    assert importlib.util.find_spec(module) is not None, source


@pytest.mark.parametrize(("package", "source"), texts("resources.files"))
def test_packages_with_files_beside_their_code_are_there(package, source):
    assert resources.files(package).is_dir(), source


def test_the_kernels_that_the_cache_is_named_after_are_those_of_the_library():
    import factors.library.kernels as kernels

    folder = Path(str(kernels.__file__)).parent
    assert folder == ROOT / "factors" / "library" / "kernels"
    assert (folder / "drive.py").exists()


def test_a_face_gives_what_it_lists():
    import factors

    for name, module in factors._WHERE.items():
        assert getattr(factors, name) is getattr(importlib.import_module(module), name)
