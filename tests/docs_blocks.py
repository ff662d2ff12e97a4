"""The code blocks of the pages, and which test runs each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
GENERATED = {"factors.md", "notebooks.md"}
"""The one has formulas of the catalogue, which tests/factors/library compute, the other examples, which
tests/examples run."""
NO_CODE = {"text", "mermaid"}
"""Drawings, grammars, and what a block before prints; the site refuses a drawing that it cannot read."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)

IN_PROCESS, IN_WEB, RUNNING = "tests/test_docs_code.py", "tests/web/test_docs.py", "tests/launch/test_docs_running.py"
RUN_BY = {
    ("CONTRIBUTING.md", "make test T="): IN_PROCESS,
    ("README.md", "make run "): IN_PROCESS,
    ("README.md", "intake = "): "tests/factors/panel/test_worked_example.py",
    ("README.md", "$ curl"): RUNNING,
    ("api.md", "{"): IN_PROCESS,
    ("clients.md", "curl -s http://127.0.0.1:8300/factor-exposures"): RUNNING,
    ("clients.md", "import asyncio, json, nats"): RUNNING,
    ("clients.md", "import asyncio\nfrom pathlib"): RUNNING,
    ("clients.md", "import asyncio\nimport io"): RUNNING,
    ("clients.md", "curl -s 'http://127.0.0.1:8300/messagebus"): RUNNING,
    ("clients.md", "from clients.blocking"): RUNNING,
    ("clients.md", "async def follow"): RUNNING,
    ("command.md", "factor-engine --help"): RUNNING,
    ("deployment.md", "python3.11 -m venv"): IN_PROCESS,
    ("deployment.md", "mkdir -m 0700"): IN_PROCESS,
    ("deployment.md", "kubectl exec"): IN_PROCESS,
    ("deployment.md", "kubectl create secret"): "tests/deploy/test_ray_service.py",
    ("development.md", "uv pip compile"): IN_PROCESS,
    ("formula-language.md", "# five-day reversal"): "tests/factors/library/language/test_language_page.py",
    ("formula-language.md", "[[define]]"): IN_PROCESS,
    ("learning.md", "curl -s http://127.0.0.1:8300/ml/dataset"): RUNNING,
    ("learning.md", "import base64, httpx, skops"): RUNNING,
    ("learning.md", "import base64, httpx\n"): RUNNING,
    ("library.md", "from factors.library import Catalogue"): IN_PROCESS,
    ("library.md", "stream = library.stream(n_assets)"): IN_PROCESS,
    ("library.md", "now = stream.peek"): IN_PROCESS,
    ("library.md", "import numpy as np"): IN_PROCESS,
    ("library.md", "curl -X POST http://127.0.0.1:8300/factors/evaluate"): RUNNING,
    ("library.md", "curl -X POST http://127.0.0.1:8300/factors/neighbours"): RUNNING,
    ("library.md", "from factors.live import"): IN_PROCESS,
    ("live.md", "import asyncio, datetime"): "tests/bus/test_live_page.py",
    ("live.md", "import asyncio\nfrom pathlib"): "tests/bus/test_live_page.py",
    ("live.md", "curl -X PUT http://127.0.0.1:8300/running-day"): IN_WEB,
    ("live.md", "curl -X PUT http://127.0.0.1:8300/watches"): RUNNING,
    ("model.md", "from factors import FactorModel, ModelSettings, Panel\n\nmodel = "): IN_PROCESS,
    ("model.md", "$ cat prices.csv"): "tests/factors/panel/test_worked_example.py",
    ("model.md", "from factors import FactorModel, ModelSettings, Panel\nfrom factors.panel.intake"): (
        "tests/factors/panel/test_worked_example.py"
    ),
    ("openbb.md", "import os"): IN_WEB,
    ("openbb.md", "openbb-api --app"): IN_WEB,
    ("operations.md", "curl -s http://127.0.0.1:8300/messagebus/dead-letters "): RUNNING,
    ("operations.md", "python -m store copy"): IN_PROCESS,
    ("operations.md", "FACTOR_ENGINE_TRACES="): IN_PROCESS,
    ("operations.md", "export FACTOR_ENGINE_STORE="): IN_PROCESS,
    ("operations.md", "make recompute"): IN_PROCESS,
    ("operations.md", "ray job submit"): IN_PROCESS,
    ("page.md", "symbol,weight"): IN_PROCESS,
    ("portfolios.md", "PUT    /portfolios"): IN_WEB,
    ("security.md", "python -m launch token"): IN_PROCESS,
    ("tutorial.md", "make run"): IN_PROCESS,
    ("tutorial.md", ". .venv/bin/activate"): RUNNING,
    ("tutorial.md", "from factors import sample_market"): RUNNING,
    ("tutorial.md", "factor-engine model create mine"): RUNNING,
    ("tutorial.md", "symbol,weight"): RUNNING,
    ("tutorial.md", "factor-engine book put"): RUNNING,
    ("tutorial.md", "factor-engine book risk"): RUNNING,
    ("tutorial.md", "curl -s"): RUNNING,
    ("tutorial.md", "factor-engine book attribution"): RUNNING,
    ("tutorial.md", "factor-engine model append"): RUNNING,
}


class Block(NamedTuple):
    """A code block: its page's name, the line that it begins on, its language, its text."""

    page: str
    line: int
    kind: str
    text: str


def blocks() -> list[Block]:
    """List the blocks of all pages that are written by hand."""
    found = []
    for path in PAGES:
        if path.name not in GENERATED:
            page = path.read_text(encoding="utf-8")
            found += [
                Block(path.name, page.count("\n", 0, one.start()) + 1, one[1], one[2]) for one in FENCE.finditer(page)
            ]
    return found


def block(page: str, beginning: str) -> str:
    """Give the text of the one block of a page that begins so."""
    (found,) = [one for one in blocks() if one.page == page and one.text.startswith(beginning)]
    return found.text
