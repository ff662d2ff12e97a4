import pytest

from contracts.errors import EngineError
from contracts.settings import TOKENS, Settings, settings
from contracts.tokens import digest_of, read_tokens
from engine.errors import StartError
from launch import tokens
from launch.supervisor import Supervisor


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def test_a_token_is_printed_once(run_dir, capsys):
    assert tokens.main(["add", "desk", "--scope", "write", "--rate", "50"]) == 0
    secret = capsys.readouterr().out.splitlines()[-1]
    (kept,) = read_tokens(run_dir / "tokens.json")
    assert kept.digest == digest_of(secret.encode())
    assert tokens.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "desk" in listed
    assert "write" in listed
    assert secret not in listed
    assert kept.digest not in listed
    assert tokens.main(["remove", "desk"]) == 0
    assert "nobody is let in" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(run_dir, capsys):
    assert tokens.main(["remove", "desk"]) == 1
    assert "there is no token desk" in capsys.readouterr().out
    tokens.main(["add", "desk"])
    (run_dir / "tokens.json").chmod(0o644)
    assert tokens.main(["add", "other"]) == 1
    assert "not private" in capsys.readouterr().out


def supervisor(run_dir, **changes):
    from engine.run_dir import RunDir

    return Supervisor(Settings(run_dir=run_dir, **changes), RunDir(run_dir), [], None, None)


def test_a_start_where_others_reach_it_is_refused_until_there_is_a_token(run_dir):
    keeper = supervisor(run_dir, http_host="0.0.0.0")
    try:
        with pytest.raises(StartError, match=r"python -m launch token add NAME --scope admin"):
            keeper._require_tokens()
        tokens.main(["add", "ops", "--scope", "admin"])
        keeper._require_tokens()
        (run_dir / "tokens.json").chmod(0o644)
        with pytest.raises(EngineError, match="not private"):
            keeper._require_tokens()
    finally:
        keeper.run_dir.release()


def test_children_of_a_run_inherit_hashes_only(run_dir, monkeypatch):
    import os

    secret = "s" * 40
    monkeypatch.setenv(TOKENS, f"desk:read:{secret}")
    keeper = supervisor(run_dir)
    try:
        keeper._require_tokens()
        assert secret not in os.environ[TOKENS]
        assert digest_of(secret.encode()) in os.environ[TOKENS]
    finally:
        keeper.run_dir.release()
