"""The site of docs/ is built as `make docs` builds it: whole, without another host, and every link leads somewhere."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
ROOT = Path(__file__).parent.parent
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
NO_LOAD = {"canonical", "next", "prev"}


class Page(HTMLParser):
    """What a page links to, what it loads, what can be linked to in it, and its paragraphs."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors, self.paragraphs = [], [], set(), []
        self._in_paragraph = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADS and given.get(LOADS[tag]) and given.get("rel") not in NO_LOAD:
            self.loads.append(given[LOADS[tag]])
        if tag == "p":
            self._in_paragraph = True
            self.paragraphs.append("")

    def handle_endtag(self, tag):
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, data):
        if self._in_paragraph:
            self.paragraphs[-1] += data


def build(out, *more, folder=ROOT):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out), *more]
    # A proxy that is not there: a build that asked for anything would fail.
    own = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(out)
    assert done.returncode == 0, done.stderr
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(out.rglob("*.html"))}


def test_every_page_and_example_is_there(pages):
    there = {path.stem for path in pages}
    wanted = {path.stem for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")]}
    assert wanted | {"index", "CHANGELOG", "CONTRIBUTING"} <= there


def test_nothing_is_loaded_from_another_host(pages):
    for path, page in pages.items():
        assert [one for one in page.loads if urlsplit(one).netloc] == [], path.name
    (folder,) = {path.parent for path in pages if path.name == "index.html" and (path.parent / "assets").exists()}
    for style in folder.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_link_and_anchor_leads_somewhere(pages):
    for path, page in pages.items():
        if path.name == "404.html":  # its links are of the place where the site is served
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("http", "https"), link
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors | {"__toc", "__drawer"}, f"{path.name}: {link}"


def test_lists_tables_and_drawings_are_no_plain_text(pages):
    for path, page in pages.items():
        for text in page.paragraphs:
            assert not re.search(r"^\s*(?:[*-] |1\. |\|.*\|$)", text, re.MULTILINE), f"{path.name}: {text[:200]}"
            assert "```" not in text, f"{path.name}: {text[:200]}"
        assert "participant " not in path.read_text(encoding="utf-8") or path.name != "drawings.html"


@pytest.mark.parametrize("wrong", ["[x](risk.md#no-such-place)", "[x](no-such-page.md)"])
def test_a_link_that_leads_nowhere_ends_the_build(wrong, tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "factors.md"))
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "docs/glossary.md").write_text(f"# Glossary\n\n{wrong}\n", encoding="utf-8")
    done = build(tmp_path / "out", folder=tmp_path)
    assert done.returncode != 0
    assert "no-such" in done.stderr
