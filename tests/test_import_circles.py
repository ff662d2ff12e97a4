"""No module imports itself by way of others, not inside a function either: such an import only hides the circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
# A panel offers its quality report, and statements as released, both built of panels: the import waits until asked.
OFFERED = {("factors.panel.panel", "factors.panel.door")}


def modules(root: Path = ROOT) -> dict[str, Path]:
    rooms = [path.parent for path in root.glob("*/__init__.py")]
    paths = [path for room in rooms for path in room.rglob("*.py")] + list(root.glob("*.py"))
    return {name_of(path.relative_to(root)): path for path in paths}


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
    """Give every imported module, and whether only a function imports it; what is for type checkers does not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
            for alias in child.names:
                yield f"{child.module}.{alias.name}", inside
                yield child.module, inside
        else:
            yield from imports(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def graph(known: dict[str, Path], *, functions: bool) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for name, path in known.items():
        found = {m for m, inside in imports(ast.parse(path.read_text()), False) if functions or not inside}
        own = {target for target in found if target in known and target != name}
        # A package's face is what its modules make up: they may import it, and name each other through it.
        out[name] = {target for target in own if (name, target) not in OFFERED and known[target].name != "__init__.py"}
    return out


def circle(depends: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(depends).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others():
    assert circle(graph(modules(), functions=True)) == []


def test_every_module_can_be_the_first_that_is_imported():
    """What a circle through a package's face would break: the module-level imports alone, faces counted."""
    known = modules()
    depends = {}
    for name, path in known.items():
        found = {m for m, inside in imports(ast.parse(path.read_text()), False) if not inside and m in known}
        depends[name] = found - {name, name.rpartition(".")[0]}
    assert circle(depends) == []


def test_a_circle_is_found_also_where_a_function_hides_it(tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "a.py").write_text("from room import b\n")
    (room / "b.py").write_text("def f():\n    from room.a import x\n")
    known = modules(tmp_path)
    assert set(circle(graph(known, functions=True))) == {"room.a", "room.b"}
    assert circle(graph(known, functions=False)) == []
