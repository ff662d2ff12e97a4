"""Imports: launch -> serve_app -> web, engine, jobs -> bus -> router -> actors -> store, devices -> factors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW_ROUTER = {"actors", "store", "devices", "factors", "contracts"}
BELOW_ENGINE = {"bus", "router", *BELOW_ROUTER}
ALLOWED = {
    "contracts": set(),
    "factors": set(),
    "clients": {"factors", "contracts"},  # of factors only what a notebook shows: tests/clients/test_shown.py
    "devices": {"factors", "contracts"},
    "store": {"factors", "contracts"},
    "actors": BELOW_ROUTER - {"actors"},
    "router": BELOW_ROUTER,
    "bus": {"router", *BELOW_ROUTER},
    "jobs": BELOW_ENGINE,
    "engine": BELOW_ENGINE,
    "web": BELOW_ENGINE,
    "serve_app": {"engine", "web", *BELOW_ENGINE},
    "launch": {"serve_app", "engine", "web", "clients", *BELOW_ENGINE},
}
# factors is a library of its own: no service, no messaging. Its settings are checked by pydantic.
FORBIDDEN_OUTSIDE = {
    "factors": {"ray", "nats", "fastapi", "pydantic_settings"},
    "contracts": {"ray", "nats"},
}


def sources(room: str) -> list[Path]:
    single = ROOT / f"{room}.py"
    return [single] if single.exists() else sorted((ROOT / room).rglob("*.py"))


def imported(tree: ast.AST) -> list[tuple[str, int]]:
    """List every imported top-level package with its line, inside functions and TYPE_CHECKING blocks too."""
    out = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out += [(alias.name.split(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            out.append((node.module.split(".")[0], node.lineno))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                out.append((first.value.split(".")[0], node.lineno))
    return out


def offences(room: str, path: Path) -> list[str]:
    forbidden = FORBIDDEN_OUTSIDE.get(room, set())
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for name, line in imported(ast.parse(path.read_text()))
        if (name in ALLOWED and name != room and name not in ALLOWED[room]) or name in forbidden
    ]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_down_only(room):
    found = sources(room)
    assert found, f"{room} has no sources"
    assert [offence for path in found for offence in offences(room, path)] == []


def test_every_room_has_its_arrows():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    rooms |= {path.stem for path in ROOT.glob("*.py")}
    assert rooms <= set(ALLOWED)


def test_an_import_inside_a_function_counts(tmp_path):
    tree = ast.parse("def f():\n    from router import client\n    importlib.import_module('bus.face')\n")
    assert imported(tree) == [("router", 2), ("bus", 3)]


def test_no_benchmark_hides_a_room():
    """A script's own folder comes first where Python looks for modules."""
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert "latency" in scripts
    assert scripts & set(ALLOWED) == set()
