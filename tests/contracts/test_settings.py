"""Settings come from the environment, are checked once, and go on to other processes unchanged."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.errors import InvalidInput
from contracts.settings import RETIRED_SWITCHES, Settings, environment_of, settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(monkeypatch):
    import os

    for name in (*os.environ, *RETIRED_SWITCHES):
        if name.startswith("FACTOR_ENGINE_") or name in RETIRED_SWITCHES:
            monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


def test_another_process_reads_the_same_settings(environment, tmp_path):
    chosen = Settings(
        run_dir=tmp_path,
        http_port=8400,
        nats_url="nats://peer:4222",
        subscribe_to_engines=("risk", "ml"),
        priority_threshold="urgent",
        messagebus_enabled=False,
        buffer_interval_ms=2.5,
    )
    for name, value in environment_of(chosen).items():
        environment.setenv(name, value)
    assert settings() == chosen
    assert chosen.priority_threshold == "URGENT"


def test_the_run_directory_is_given_on_absolute_as_the_other_process_may_stand_elsewhere(environment, tmp_path):
    environment.chdir(tmp_path)
    assert environment_of(Settings())["FACTOR_ENGINE_RUN_DIR"] == str(tmp_path / ".run")
    assert Settings().store_path == tmp_path / ".run" / "store"


@pytest.mark.parametrize("text", ["risk, ml", '["risk", "ml"]', "risk,ml,"])
def test_a_list_is_names_with_commas_or_json(environment, text):
    environment.setenv("FACTOR_ENGINE_SUBSCRIBE_TO_ENGINES", text)
    assert settings().subscribe_to_engines == ("risk", "ml")


@pytest.mark.parametrize("name", ["MESSAGEBUS_ENABLED", "FACTOR_ENGINE_MESSAGEBUS_ENABLED"])
def test_switches_of_the_engine_this_replaces_are_read_beside_our_own(environment, name):
    environment.setenv(name, "false")
    assert settings().messagebus_enabled is False


@pytest.mark.parametrize("name", RETIRED_SWITCHES)
def test_a_switch_without_a_meaning_is_accepted_with_a_warning(environment, name):
    environment.setenv(name, "true")
    with pytest.warns(UserWarning, match=f"{name} is accepted but has no effect"):
        settings()


@pytest.mark.parametrize(
    ("name", "value"), [("HTTP_PORT", "0"), ("HTTP_PORT", "eighty"), ("QUEUE_LIMIT", "0"), ("HTTP", "nginx")]
)
def test_a_value_out_of_range_is_refused_by_name(environment, name, value):
    environment.setenv(f"FACTOR_ENGINE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        settings()


def test_an_unknown_priority_is_refused(environment):
    with pytest.raises(InvalidInput, match="critical"):
        Settings(priority_threshold="soon")


def test_every_setting_is_in_the_documents_and_every_documented_one_is_read():
    text = (ROOT / "docs" / "operations.md").read_text() + (ROOT / "README.md").read_text()
    documented = set(re.findall(r"FACTOR_ENGINE_([A-Z0-9_]+)", text))
    read = {name.upper() for name in Settings.model_fields}
    elsewhere = {"ORACLE_PYTHON"}
    assert read - documented == set()
    assert documented - read - elsewhere == set()
