import importlib.metadata
import re
import tomllib
from pathlib import Path

from bus.document import asyncapi
from contracts.version import VERSION
from web.openapi import document
from web.service import ROUTES

ROOT = Path(__file__).parents[2]


def test_there_is_one_version_that_of_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert importlib.metadata.version("factor-engine") == VERSION == declared
    assert document(ROUTES)["info"]["version"] == VERSION
    assert asyncapi()["info"]["version"] == VERSION


def test_the_newest_part_of_the_change_log_is_what_is_not_released_or_this_version():
    newest = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert newest == "Unreleased" or newest.startswith(VERSION)


def test_no_source_spells_the_version_again():
    spelled = re.compile(rf"[\"']{re.escape(VERSION)}[\"']")
    rooms = ("actors", "bus", "clients", "contracts", "engine", "jobs", "launch", "router", "store", "web")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        for line in path.read_text().splitlines()
        if spelled.search(line) and "bindingVersion" not in line
    ]
    assert found == []
