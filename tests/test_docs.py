"""The pages for people: whom each is for, links that lead somewhere, and examples that the engine takes."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from docs_blocks import NO_CODE, PAGES, ROOT, RUN_BY, blocks

from contracts.operations import OPERATIONS

FOR_ITSELF = {"README.md", "CHANGELOG.md"}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page):
    linked = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in linked if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in FOR_ITSELF], ids=lambda page: page.name)
def test_a_page_says_first_whom_it_is_for_and_what_he_can_do_after_it(page):
    first = " ".join(page.read_text().split("\n\n")[1].split())
    assert first.startswith(("For who", "For the ")), first
    assert re.search(r"[Aa]fter(?: this page| it|wards)\b", first), first


def test_every_page_is_reached_from_readme():
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [
            (page.parent / target).resolve() for target in LINK.findall(page.read_text()) if "://" not in target
        ]
    assert {page.name for page in PAGES} - {page.name for page in seen} <= {"CHANGELOG.md"}


def test_readme_is_short_and_its_example_is_a_request_of_its_operation():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 80
    command = text[text.index("$ curl") + 2 : text.index("\n{", text.index("$ curl"))].replace("\\\n", " ")
    words = shlex.split(command)
    path = next(word for word in words if word.startswith("http://")).partition(":8300")[2]
    (row,) = [row for row in OPERATIONS.values() for route in row.routes if route.path == path]
    row.request.model_validate(json.loads(words[words.index("-d") + 1]))


@pytest.mark.parametrize("one", blocks(), ids=lambda one: f"{one.page}:{one.line}")
def test_every_block_says_what_it_is_and_is_run_by_a_test_that_is_there(one):
    assert one.kind, "a block without a language"
    if one.kind in NO_CODE:
        return
    if one.kind == "python":
        compile(one.text, one.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    run_by = {test for (page, beginning), test in RUN_BY.items() if page == one.page and one.text.startswith(beginning)}
    assert len(run_by) == 1, run_by
    assert one.page in (ROOT / run_by.pop()).read_text()


def test_no_test_is_named_for_a_block_that_is_gone():
    there = blocks()
    for page, beginning in RUN_BY:
        assert [one for one in there if one.page == page and one.text.startswith(beginning)], (page, beginning)


@pytest.mark.parametrize("one", [one for one in blocks() if one.kind == "sh"], ids=lambda one: f"{one.page}:{one.line}")
def test_shell_blocks_are_of_the_shells_language(one):
    plain = re.sub(r"<port>", "1", one.text)
    done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
