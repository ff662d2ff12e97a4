"""How long a file and a function may be; a docstring takes none of a function's lines."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE_LINES, FUNCTION_LINES = 500, 70
SKIPPED = {"build", "oracles"}


def below(folder):
    """List the modules below a folder, without looking into the environments that lie there."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in SKIPPED:
            yield from below(path)
        elif path.suffix == ".py":
            yield path.relative_to(ROOT)


FILES = list(below(ROOT))


def code_lines(function):
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def functions_of(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_file_is_too_long_to_be_held_in_mind():
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen():
    lengths = {f"{path}:{function.name}": code_lines(function) for path in FILES for function in functions_of(path)}
    assert len(lengths) > 1000
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}
