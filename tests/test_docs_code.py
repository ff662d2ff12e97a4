"""Blocks of the pages that need no engine, run as they stand there: Python, settings, files, and lines of the shell."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from docs_blocks import ROOT, block, blocks
from fixtures_objects import BUCKET

from factors import FactorModel, ModelSettings, Panel, sample_market


@pytest.fixture(scope="module")
def market():
    return sample_market(n_assets=30, n_days=300, seed=3).panel


def shell(text, folder, **more):
    """Run lines of a page in a folder, with this Python as `python` and the first failure as the end."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name, target in (("python", sys.executable), ("factor-engine", Path(sys.executable).parent / "factor-engine")):
        if not (bin_folder / name).exists():
            (bin_folder / name).write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
            (bin_folder / name).chmod(0o755)
    own = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(words):
    """Let `make` say what it would do."""
    command = ["make", "-n", *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


# `make -n` prints what would be done, and fails for a target that is not there.
MAKING = [("CONTRIBUTING.md", "make test T="), ("README.md", "make run "), ("tutorial.md", "make run")]
MAKING += [("operations.md", "FACTOR_ENGINE_TRACES=")]


@pytest.mark.parametrize(("page", "beginning"), MAKING)
def test_targets_of_make_are_there(page, beginning, tmp_path):
    lines = [line for line in block(page, beginning).splitlines() if line.strip()]
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if not word.startswith("FACTOR_ENGINE_")]
        assert words[0] == "make"
        done = made(words)
        assert done.stdout


def test_the_settings_of_api_md_are_those_of_a_model():
    text = block("api.md", "{")
    assert ModelSettings.from_dict(json.loads(text)) == ModelSettings()


def test_the_entries_of_a_catalogue_file_are_read(tmp_path):
    """The form of docs/formula-language.md; dots stand for what is left out there."""
    from factors.library import Catalogue

    text = block("formula-language.md", "[[define]]")
    published = tomllib.loads(text)["factor"][0]["formula"]
    text = text.replace("'''...'''", f"'''{published}'''").replace('"..."', '"returns - 0"')
    # What is shown as an optional entry of its own names no other: it is an alias of the factor above it.
    (tmp_path / "catalogue.toml").write_text(text.replace('alias_of = "alpha101_021"', 'alias_of = "alpha101_001"'))
    read = Catalogue.load(tmp_path / "catalogue.toml")
    assert set(read.entries) == {"alpha101_001"}
    assert set(read.aliases) == {"gtja191_004"}


def test_library_md_over_a_history_row_by_row_before_a_row_is_final_and_with_bars(market):
    """The blocks of docs/library.md one after the other, with the names that the page explains beside them."""
    from factors.library import Catalogue

    n_assets, dates = market.n_assets, np.asarray(market.dates)
    fields, last = {name: values[:-2] for name, values in market.fields.items()}, -2
    row = {name: values[last] for name, values in market.fields.items()}
    codes = {name: category.codes for name, category in market.categories.items()}
    groups = {name: values[:-2] for name, values in codes.items()}
    row_groups = {name: values[last] for name, values in codes.items()}
    names = {"fields": fields, "dates": dates[:-2], "groups": groups, "n_assets": n_assets, "row": row}
    names |= {"row_groups": row_groups, "date": dates[last], "columns": np.arange(3)}
    exec(block("library.md", "from factors.library import Catalogue"), names)
    assert set(names["found"]) == {"place", "level"}
    assert np.isfinite(names["found"]["place"][-1]).any()
    assert len(names["everything"].ids) == len(Catalogue.load().entries)

    before_final = block("library.md", "now = stream.peek")
    by_row = block("library.md", "stream = library.stream(n_assets)")
    warmed = "\n".join(by_row.splitlines()[:2])
    exec(warmed, names)
    exec(before_final, names)
    peeked = names["now"].copy()
    exec(by_row, names)
    np.testing.assert_array_equal(names["values"], peeked)
    whole = names["library"].run(
        {name: values[:-1] for name, values in market.fields.items()},
        dates=dates[:-1],
        groups={name: values[:-1] for name, values in codes.items()},
    )
    np.testing.assert_array_equal(names["values"][names["library"].ids.index("place")], whole["place"][-1])

    start = np.datetime64("2024-01-02T09:30", "us")
    names["timestamps"] = start + np.arange(len(fields["close"])) * np.timedelta64(60, "s").astype("timedelta64[us]")
    times = np.repeat(names["timestamps"][:5], 2)
    bars = {"time": times, "symbol": ["A", "B"] * 5, "close": [10.0, 20.0] * 5, "volume": [100.0, 50.0] * 5}
    names["bars"] = pl.DataFrame(bars)
    exec(block("library.md", "import numpy as np"), names)
    assert names["frame"]["vwap"].to_list() == [10.0, 20.0] * 5


def test_library_md_a_running_day(market):
    """`AMZN` and `MSFT` of the page are two names of this market, and their prices near the last close."""
    closes = market.fields["close"][-1]
    first, second = (int(column) for column in np.flatnonzero(np.isfinite(closes))[:2])
    text = block("library.md", "from factors.live import")
    for written, column, price in (("AMZN", first, "1502.5"), ("MSFT", second, "101.5")):
        text = text.replace(f'"{written}"', f'"{market.symbols[column]}"').replace(
            price, str(float(closes[column]) * 1.001)
        )
    today = np.asarray(market.dates)[-1] + np.timedelta64(1, "D")
    model = FactorModel(ModelSettings()).fit(market)
    noon = int(today.astype("datetime64[us]").astype(np.int64)) + 15 * 3600 * 10**6
    weights = np.zeros(market.n_assets)
    weights[[first, second]] = 0.5
    names = {"model": model, "today": today, "definition": "rank(close)", "time_us": noon, "weights": weights}
    exec(text, names)
    assert list(names["columns"]) == [first, second]
    assert model.dates_[-1] == today


def test_model_md_fits_and_goes_on(market):
    columns = {"returns": "asset_returns", "market_cap": "market_cap", "close": "close"}
    whole = market.to_frame(names=columns)
    last = whole["date"].max()
    names = {"frame": whole.filter(pl.col("date") < last), "next_day": whole.filter(pl.col("date") == last)}
    exec(block("model.md", "from factors import FactorModel, ModelSettings, Panel\n\nmodel = "), names)
    assert str(names["model"].dates_[-1]) == str(last)
    assert isinstance(Panel.from_frame(names["frame"]), Panel)


def test_the_page_md_csv_is_a_book(tmp_path):
    from contracts.operations import OPERATIONS
    from launch.command.fields import fields, holdings

    (tmp_path / "book.csv").write_text(block("page.md", "symbol,weight").replace("30%", "0.3"))
    weights = fields(OPERATIONS["portfolio_risk"])["portfolio_weights"]
    assert holdings(weights, tmp_path / "book.csv") == {"AMZN": 0.5, "MSFT": 0.3}


def test_operations_md_copies_checks_and_repairs_a_store(tmp_path):
    from stored_states import state

    from store.model_store import ModelStore

    made = ModelStore(tmp_path / ".run/store")
    made.commit("main", state(0, 3, ("A", "B")), base=0, request_id="r", operation="create_model")
    lines = block("operations.md", "python -m store copy").splitlines()
    # The last lines have an object store's address: tests/store copy to one on loopback.
    text = "\n".join(line for line in lines if "s3://" not in line).replace("/backup", str(tmp_path / "backup"))
    text = re.sub(r"\[STORE\]", ".run/store", text).replace("[--dry-run]", "--dry-run")
    assert "nothing is damaged" in shell(text, tmp_path)
    assert ModelStore(tmp_path / "backup/store").head("main").manifest.version == 1


def test_operations_md_checks_a_store_in_a_bucket(s3, tmp_path):
    from stored_states import state

    from store.bucket import Bucket
    from store.model_store import ModelStore
    from store.objects import ObjectCommit

    text = block("operations.md", "export FACTOR_ENGINE_STORE=")
    lines, _, last = text.rstrip("\n").rpartition("\n")
    assert made(shlex.split(last)).stdout
    lines = lines.replace("s3://bucket/", f"s3://{BUCKET}/").replace("eu-central-1", "us-east-1")
    # Before the first start the check says what it tried, and then, with 2, that there is no store yet.
    told = shell(f"{{ {lines}\n}} 2>&1 || test $? = 2", tmp_path)
    assert "holds the conditions that commits need" in told
    assert "there is no store at" in told
    assert s3.seen, "the bucket was asked"
    there = ObjectCommit(Bucket(f"s3://{BUCKET}/prefix"), tmp_path / "store", poll_s=60.0, cache_bytes=1 << 30)
    ModelStore(there).commit("main", state(0, 3, ("A", "B")), base=0, request_id="r", operation="create_model")
    assert "nothing is damaged" in shell(lines, tmp_path)


def recompute_lines():
    for beginning in ("make recompute", "ray job submit"):
        yield from block("operations.md", beginning).splitlines()


@pytest.mark.parametrize("line", list(recompute_lines()))
def test_operations_md_asks_jobs_in_words_that_they_take(line):
    from jobs.recompute import parser

    plain = re.sub(r"\[MODEL \.\.\.\] ?", "other ", line).replace("JSON", "'{}'").replace("ID", "an-id")
    words = shlex.split(plain.replace("[", "").replace("]", "").replace("<port>", "1"))
    if words[0] == "make":
        done = made(words)
        words = shlex.split(done.stdout.replace("\\\n", " "))
    at = words.index("jobs.recompute")
    assert words[at - 1] == "-m"
    given = parser().parse_args(words[at + 1 :])
    assert given.model == "main" or given.models == ["MODEL", "other"]


def test_security_md_makes_lists_and_takes_away_a_token(tmp_path):
    lines = block("security.md", "python -m launch token").splitlines()
    own = {"FACTOR_ENGINE_RUN_DIR": str(tmp_path / "run")}
    told = shell("\n".join(line for line in lines if "curl" not in line), tmp_path, **own)
    secret = told.split()[0] if told.split() else ""
    assert "desk" in told
    assert secret
    assert "desk" not in shell("python -m launch token list", tmp_path, **own)


def test_deployment_md_makes_what_is_secret(tmp_path):
    """All of the block but its last command, which starts a container."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    (tmp_path / "deploy").mkdir()
    lines, started, last = block("deployment.md", "mkdir -m 0700").partition("docker compose ")
    assert started
    asked = r"--file deploy/compose.yaml run .*engine token add watch --scope read \\\n.*> deploy/secrets/read_token\n?"
    assert re.fullmatch(asked, last), last
    shell(lines, tmp_path)
    made = {path.name for path in (tmp_path / "deploy/certificates").iterdir()}
    assert {"ca.pem", "nats.pem", "nats-key.pem"} <= made
    passwords = dict(line.split("=") for line in (tmp_path / "deploy/.env").read_text().splitlines())
    assert len(passwords) == 8
    assert all(len(one) == 48 for one in passwords.values())
    assert set(passwords) <= set(re.findall(r"NATS_[A-Z]+_PASSWORD", (ROOT / "deploy/compose.yaml").read_text()))


def test_deployment_md_names_files_and_words_that_are_there():
    """Its other lines make users, units and secrets of a cluster; what they name is looked up."""
    text = block("deployment.md", "python3.11 -m venv") + block("deployment.md", "kubectl exec")
    for path in re.findall(r"(?:^| )(requirements\.lock|deploy/\S+)", text):
        assert (ROOT / path).exists(), path
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"factor_engine-{version}-py3-none-any.whl" in text
    pod, secret = "factor-engine-0", "factor-engine-token"
    engine = (ROOT / "deploy/kubernetes/engine.yaml").read_text()
    assert f"kubectl exec {pod} -- factor-engine token add" in text
    assert f"kubectl create secret generic {secret} --from-literal=read=" in text
    assert secret in engine
    assert "name: factor-engine\n" in engine


def test_development_md_compiles_the_locks_that_are_there_from_extras_that_are_there():
    text = block("development.md", "uv pip compile").replace("\\\n", " ")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in text.splitlines():
        words = shlex.split(line)
        assert {words[i + 1] for i, word in enumerate(words) if word == "--extra"} <= set(extras)
        for path in (words[3], words[words.index("-o") + 1]):
            assert (ROOT / path).exists(), path


def test_there_are_blocks_of_every_kind():
    assert {one.kind for one in blocks()} >= {"sh", "python", "json", "toml", "http", "csv", "console", "text"}
