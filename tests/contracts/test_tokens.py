import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.errors import InvalidInput, Unavailable
from contracts.operations import OPERATIONS
from contracts.settings import Settings, environment_of
from contracts.tokens import (
    Scope,
    Token,
    add_token,
    digest_of,
    known_tokens,
    of_environment,
    on_loopback,
    read_tokens,
    remove_token,
    to_environment,
    token_file,
)

SECRET = "x" * 40


def test_a_token_is_kept_as_a_hash_in_a_private_file(tmp_path):
    path = tmp_path / "tokens.json"
    secret = add_token(path, "desk", Scope.WRITE, 5.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    assert read_tokens(path) == (Token("desk", Scope.WRITE, digest_of(secret.encode()), 5.0),)


def test_a_removed_token_leaves_the_file_so_that_nothing_opens(tmp_path):
    path = tmp_path / "tokens.json"
    add_token(path, "desk", Scope.READ)
    with pytest.raises(InvalidInput, match="there is a token desk already"):
        add_token(path, "desk", Scope.READ)
    with pytest.raises(InvalidInput, match="there are: desk"):
        remove_token(path, "other")
    assert remove_token(path, "desk") == ()
    assert read_tokens(path) == ()
    assert read_tokens(tmp_path / "none.json") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path, mode):
    path = tmp_path / "tokens.json"
    add_token(path, "desk", Scope.READ)
    path.chmod(mode)
    with pytest.raises(Unavailable, match="not private"):
        read_tokens(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"tokens": [{}]}',
        '{"tokens": 3}',
        '{"tokens": [{"name": "a", "scope": "root", "digest": "' + "0" * 64 + '", "per_second": 1}]}',
        '{"tokens": [{"name": "a", "scope": "read", "digest": "short", "per_second": 1}]}',
        '{"tokens": [{"name": "a", "scope": "read", "digest": "' + "0" * 64 + '", "per_second": "NaN"}]}',
        '{"tokens": [{"name": "a", "scope": 1, "digest": "' + "0" * 64 + '", "per_second": 1}]}',
        '{"tokens": [{"name": "a", "scope": "read", "digest": "' + "0" * 64 + '", "per_second": 1' + "0" * 400 + "}]}",
        "[" * 100_000,
    ],
)
def test_what_is_no_token_file_lets_nobody_in(tmp_path, text):
    path = tmp_path / "tokens.json"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(Unavailable, match="not a token file"):
        read_tokens(path)


def test_of_tokens_made_and_removed_at_once_none_is_lost_and_none_comes_back(tmp_path):
    path = tmp_path / "tokens.json"
    for number in range(12):
        add_token(path, f"old{number}", Scope.ADMIN)

    def change(number):
        remove_token(path, f"old{number}")
        add_token(path, f"new{number}", Scope.READ)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(change, range(12)))
    assert {token.name for token in read_tokens(path)} == {f"new{number}" for number in range(12)}


def test_one_secret_under_two_names_is_refused():
    with pytest.raises(InvalidInput, match="a and b are one secret") as caught:
        of_environment(f"a:read:{SECRET},b:admin:{SECRET}")
    assert SECRET not in caught.value.detail


def test_the_environment_gives_tokens_or_their_hashes():
    rows = of_environment(f"desk:read:{SECRET}, ops:admin:sha256-{'a' * 64}:7")
    assert rows == (
        Token("desk", Scope.READ, digest_of(SECRET.encode())),
        Token("ops", Scope.ADMIN, "a" * 64, 7.0),
    )
    assert of_environment(to_environment(rows)) == rows
    assert SECRET not in to_environment(rows)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("desk", "name:scope:token"),
        ("desk:read:short", "fewer than 32"),
        (f"desk:root:{SECRET}", "read, write or admin"),
        (f"desk:read:{SECRET}:often", "no number"),
        (f"a b:read:{SECRET}", "name"),
        (f"a:read:{SECRET},a:read:{SECRET}", "twice"),
    ],
)
def test_a_row_of_the_environment_that_is_wrong_is_named_without_its_secret(text, why):
    with pytest.raises(InvalidInput, match=why) as refused:
        of_environment(text)
    assert SECRET not in refused.value.detail


def test_settings_show_no_token_and_hand_none_on(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_TOKENS", f"desk:read:{SECRET}")
    current = Settings(run_dir=tmp_path)
    assert known_tokens(current) == (Token("desk", Scope.READ, digest_of(SECRET.encode())),)
    for shown in (repr(current), str(current), current.model_dump_json(), json.dumps(environment_of(current))):
        assert SECRET not in shown


def test_both_sources_count_and_a_name_stands_in_one_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_TOKENS", f"desk:read:{SECRET}")
    current = Settings(run_dir=tmp_path)
    add_token(token_file(current), "ops", Scope.ADMIN)
    assert [token.name for token in known_tokens(current)] == ["ops", "desk"]
    add_token(token_file(current), "desk", Scope.ADMIN)
    with pytest.raises(InvalidInput, match="twice there is desk"):
        known_tokens(current)


def test_a_rows_scope_follows_from_what_it_does():
    assert {row.scope for row in OPERATIONS.values() if not row.operator and not row.writes} == {Scope.READ}
    assert {row.scope for row in OPERATIONS.values() if not row.operator and row.writes} == {Scope.WRITE}


@pytest.mark.parametrize(
    ("host", "there"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.7", False), ("box", False)],
)
def test_only_loopback_is_loopback(host, there):
    assert on_loopback(host) is there
