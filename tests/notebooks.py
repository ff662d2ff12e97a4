"""Runs the examples cell by cell and writes them with what they show to docs/notebooks.md: ``make notebooks``."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "notebooks.md"
PICTURES = ROOT / "docs" / "pictures"
PREFIX = "notebook-"
WITHOUT_ENGINE = (
    "risk_model_from_a_csv",
    "risk_and_attribution_of_a_book",
    "a_factor_from_idea_to_tear_sheet",
    "coming_from_toraniko",
    "coming_from_skfolio",
    "coming_from_qlib",
)
WITH_ENGINE = ("live_watch", "recompute_and_compare_versions")
ORDER = (*WITHOUT_ENGINE[:3], *WITH_ENGINE, *WITHOUT_ENGINE[3:])
HEAD = """\
# Notebooks

For whoever works in Jupyter, or reads before running. After this page you know what eight notebooks do, and what their
results look like.

They are the files of `examples/`, in jupytext's form: Jupyter opens them as notebooks, and Python runs
them as they are. Each takes your own table (Parquet, CSV or Arrow) as its first argument; here they ran on a sample
market. `make notebooks` writes this page and its pictures. The tests run every example on the sample
market and on real data.
"""


class Cell(NamedTuple):
    """A cell: `markdown` without its marks, or `code`."""

    kind: str
    text: str


class Output(NamedTuple):
    """What a cell printed, and the value of its last expression."""

    text: str
    value: Any


def path_of(name: str) -> Path:
    return EXAMPLES / f"{name}.py"


def cells(path: Path) -> list[Cell]:
    """Give the cells of a file in jupytext's percent form."""
    found: list[Cell] = []
    for part in path.read_text().split("\n# %%")[1:]:
        first, _, body = part.partition("\n")
        if first.strip() == "[markdown]":
            lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
            found.append(Cell("markdown", "\n".join(lines).strip()))
        else:
            found.append(Cell("code", body.strip()))
    return found


def run(path: Path, arguments: Sequence[str] = ()) -> Iterator[tuple[Cell, Output | None]]:
    """Run the cells one after the other, as a notebook does; None for text."""
    space: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    with mock.patch.object(sys, "argv", [str(path), *arguments]):
        for cell in cells(path):
            if cell.kind == "markdown":
                yield cell, None
                continue
            tree = ast.parse(cell.text)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(tree, str(path), "exec"), space)
                value = eval(compile(ast.Expression(last.value), str(path), "eval"), space) if last else None
            yield cell, Output(printed.getvalue(), value)


def heading(text: str) -> str:
    """Put headings one level lower: the page has one title."""
    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
    return "\n".join(lines)


def shown(cell: Cell) -> str:
    """Give a cell as it stands on the page."""
    return heading(cell.text) if cell.kind == "markdown" else f"```python\n{cell.text}\n```"


def section(name: str, pictures: Path) -> str:
    """Run an example, write its pictures, and give its part of the page."""
    from factors.notebook import Picture

    parts, number = [], 0
    for cell, output in run(path_of(name)):
        parts.append(shown(cell))
        if output is None:
            continue
        if output.text.strip():
            parts.append(f"```\n{output.text.rstrip()}\n```")
        if isinstance(output.value, Picture):
            number += 1
            file = f"{PREFIX}{name.replace('_', '-')}-{number}.png"
            output.value.save(pictures / file)
            parts.append(f"![{output.value.axes.get_title(loc='left')}](pictures/{file})")
    return "\n\n".join(parts)


def main() -> None:
    """Run all of them, those that need it beside an engine of their own, and write the page and the pictures."""
    from running_engine import running, small_market

    for old in PICTURES.glob(f"{PREFIX}*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "run", small_market(Path(folder))) as engine:
        engine.until_ready()
        os.environ["FACTOR_ENGINE_URL"] = f"http://127.0.0.1:{engine.port}"
        os.environ["FACTOR_ENGINE_RUN_DIR"] = str(engine.run_dir)
        sections = [section(name, PICTURES) for name in ORDER]
    PAGE.write_text("\n\n".join([HEAD.rstrip(), *sections]) + "\n")


if __name__ == "__main__":
    main()
