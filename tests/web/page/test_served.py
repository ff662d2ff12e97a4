"""The page's files as they are served: what needs no browser."""

import gzip
import hashlib
import json
import re
from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from contracts.settings import Settings
from contracts.tokens import Scope, add_token
from web.app import make_app
from web.page_files import FOLDER, KINDS
from web.services import Services

FIRST_VIEW_BYTES = 150_000
VENDOR = json.loads((FOLDER / "vendor" / "vendor.json").read_text())
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
OWN = [name for name in FILES if name.endswith((".js", ".css", ".html")) and not name.startswith("vendor/")]


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    """The application as it stands before it is connected: the page is served then, too."""
    services = Services(Settings(run_dir=tmp_path_factory.mktemp("served")))
    return TestClient(make_app(services), base_url="http://127.0.0.1:8300")


def imports(name):
    """Name the files that one of the page's modules imports at once, and those that it imports when they are needed."""
    text = (FOLDER / name).read_text()
    return re.findall(r"^import .*?from '\./([^']+)'", text, re.MULTILINE), re.findall(r"import\('\./([^']+)'\)", text)


def test_the_page_is_at_the_root_and_loads_only_from_here(http):
    answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert not any("unsafe" in value or "http" in value or "*" in value for value in policy.values())
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_document_has_no_script_or_style_of_its_own_and_only_relative_addresses(http):
    text = http.get("/").text
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert "<style" not in text
    assert "style=" not in text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(addresses) > 4
    assert [path for path in addresses if path.startswith("/") or "//" in path] == []
    for path in addresses:
        assert http.get(f"/{path}").status_code == 200, path


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_type_and_is_the_one_on_disk(http, name):
    answer = http.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == KINDS[f".{name.rsplit('.', 1)[1]}"]
    assert answer.content == (FOLDER / name).read_bytes()


def test_a_browser_that_has_a_file_is_told_that_it_is_unchanged(http):
    first = http.get("/page/app.js")
    again = http.get("/page/app.js", headers={"if-none-match": f"W/{first.headers['etag']}"})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get("/page/app.js", headers={"if-none-match": '"other"'}).status_code == 200
    assert http.get("/page/style.css").headers["etag"] != first.headers["etag"]


def test_a_file_is_packed_only_for_who_reads_that(http):
    plain = http.get("/page/app.js", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    packed = http.get("/page/app.js", headers={"accept-encoding": "gzip, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert packed.content == plain.content


@pytest.mark.parametrize(
    "name", ["nothing.js", "../app.py", "%2e%2e/app.py", "vendor", "", ".hidden.js", "vendor/../../app.py"]
)
def test_nothing_else_is_given(http, name):
    answer = http.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown_route"


def test_the_first_view_is_small_over_the_wire():
    names, queue = {"index.html", "style.css", "icon.svg"}, ["app.js"]
    names |= {row["file"] and f"vendor/{row['file']}" for row in VENDOR}
    while queue:
        name = queue.pop()
        if name not in names:
            names.add(name)
            queue += imports(name)[0] if not name.startswith("vendor/") else []
    assert {"api.js", "overview.js"} <= names
    sizes = {name: len(gzip.compress((FOLDER / name).read_bytes(), 9)) for name in names}
    assert sum(sizes.values()) < FIRST_VIEW_BYTES, sizes


def test_what_a_module_imports_is_there():
    for name in OWN:
        for other in [*imports(name)[0], *imports(name)[1]]:
            assert (FOLDER / other).is_file(), f"{name} imports {other}"


def test_the_files_of_others_are_those_of_their_packages():
    found = {row["file"]: hashlib.sha256((FOLDER / "vendor" / row["file"]).read_bytes()).hexdigest() for row in VENDOR}
    assert found == {row["file"]: row["sha256"] for row in VENDOR}
    named = {row["file"] for row in VENDOR} | {row["text"] for row in VENDOR} | {"vendor.json"}
    assert named == {path.name for path in (FOLDER / "vendor").iterdir()}
    for row in VENDOR:
        assert row["version"] in row["file"]
        assert row["licence"] in ("MIT", "Apache-2.0")
        assert len((FOLDER / "vendor" / row["text"]).read_text()) > 500


def test_our_files_are_short_and_name_no_other_host():
    assert len(OWN) > 10
    for name in OWN:
        text = (FOLDER / name).read_text()
        assert len(text.splitlines()) < 500, name
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == [], name
        assert "innerHTML" not in text, name


def test_who_asks_is_told_what_he_may_do(http):
    assert http.get("/api/v1/factor-engine/status").json()["caller"]["scope"] == "admin"


def test_the_files_are_open_where_tokens_are_required_and_what_they_ask_for_is_not(tmp_path):
    secret = add_token(tmp_path / "tokens.json", "desk", Scope.READ)
    closed = Services(Settings(run_dir=tmp_path, token_file=tmp_path / "tokens.json"))
    client = TestClient(make_app(closed), base_url="http://127.0.0.1:8300")
    assert client.get("/").status_code == client.get("/page/app.js").status_code == 200
    status = "/api/v1/factor-engine/status"
    assert client.get(status).status_code == 401
    told = client.get(status, headers={"authorization": f"Bearer {secret}"}).json()["caller"]
    assert told == {"name": "desk", "scope": "read"}


def test_a_page_behind_a_prefix_reaches_its_files_and_routes(http):
    """A proxy takes the prefix off: what the page asks for stands below wherever the page is."""
    base = "http://desk.example/engine/"
    addresses = re.findall(r'(?:src|href)="([^"]+)"', http.get("/").text)
    assert all(urljoin(base, path).startswith(base) for path in addresses)
    asked = (FOLDER / "api.js").read_text()
    assert "new URL('.', document.baseURI)" in asked
    assert "path.replace(/^\\//, '')" in asked
    for name in OWN:
        if name.endswith(".js"):
            assert re.findall(r"(?:fetch|WebSocket)\(['\"`]", (FOLDER / name).read_text()) == [], name
