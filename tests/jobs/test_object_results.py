"""Results in an object store are those of a folder, to the byte; a store that does not answer ends the job in time."""

import hashlib
import json
import math
import socket

import pytest

from actors.reading.states import state_of
from contracts.errors import InvalidInput
from contracts.settings import settings
from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from jobs import pace, plan, source
from jobs import recompute as job
from jobs.parts import read_manifest
from jobs.progress import Progress
from jobs.work import Work
from jobs.workers import Inline
from store import ModelStore
from store import bucket as buckets
from store.bucket import Bucket

OUT = "s3://store/deep/results"
WORDS = [
    "--model",
    "m",
    "--what",
    "returns,covariance,library",
    "--factors",
    "alpha101_001,alpha101_003,gtja191_009",
    "--workers",
    "0",
]


@pytest.fixture(scope="module")
def model():
    return FactorModel().fit(sample_market(n_assets=30, n_days=140).panel)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch, model):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("MESSAGEBUS_ENABLED", "false")
    monkeypatch.setattr(pace, "EVERY_S", 0.0)
    monkeypatch.setattr(pace, "SHARE", math.inf)
    settings.cache_clear()
    plan.formulas_of.cache_clear()
    store = ModelStore(settings().store_path)
    store.commit("m", state_of(model), base=0, request_id="first", operation="create_model")
    yield store
    settings.cache_clear()
    plan.formulas_of.cache_clear()


def committed() -> dict | None:
    try:
        return json.loads(Bucket(OUT).get("manifest.json").content)
    except FileNotFoundError:
        return None


def test_the_objects_are_the_files_of_a_folder(s3, tmp_path):
    assert job.main([*WORDS, "--out", str(tmp_path / "folder")]) == 0
    assert job.main([*WORDS, "--out", OUT]) == 0
    parts = committed()["parts"]
    assert parts == read_manifest(tmp_path / "folder")["parts"]
    for part in parts:
        content = Bucket(OUT).get(f"parts/{part['file']}").content
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
    puts = [key for method, key in s3.seen if method == "PUT"]
    assert puts[-1] == "deep/results/manifest.json", "nothing is named before all of it is there"
    left = settings().store_path / "recomputed"
    assert not list(left.rglob("*.parquet")), "what is uploaded does not stay on the node"


def test_a_job_that_was_ended_goes_on_behind_what_is_in_the_store(s3):
    class Ended(Exception):
        pass

    class EndedAfter(Inline):
        left = 2

        def run(self, function, arguments, look):
            def count():
                self.left -= 1
                if not self.left:
                    raise Ended
                look()

            return super().run(function, arguments, count)

    work = job.work_of(job.parser().parse_args([*WORDS, "--out", OUT]))
    progress = Progress()
    progress.of(work)
    with pytest.raises(Ended):
        job.recompute(work, progress, EndedAfter())
    assert committed() is None
    assert list(Bucket(OUT).listed("states")), "what the chain carried is kept"
    assert job.main([*WORDS, "--out", OUT]) == 0
    made = [key for method, key in s3.seen if method == "PUT" and key.endswith(".parquet")]
    assert sorted(made) == sorted({f"deep/results/parts/{part['file']}" for part in committed()["parts"]})


def test_processes_put_their_parts_there(s3):
    assert job.main([*WORDS[:-1], "2", "--out", OUT]) == 0
    assert len(committed()["parts"]) == len([one for one in Bucket(OUT).listed("parts") if one.key.endswith("parquet")])


@pytest.fixture(params=["refused", "silent"])
def away(request, s3, monkeypatch):
    """Have the environment name an object store that refuses connections, or takes them and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        if request.param == "refused":
            server.close()
        yield


def test_a_table_in_a_store_that_does_not_answer_is_named(away, monkeypatch, capsys, tmp_path):
    quick = {"timeout": "1s", "connect_timeout": "1s", "max_retries": 1, "retry_timeout_ms": 500}
    monkeypatch.setattr(source, "REMOTE", quick)
    for kind in ("parquet", "csv"):
        uri = f"s3://store/lake/market.{kind}"
        words = ["--model", "m", "--what", "returns", "--workers", "0", "--data", uri, "--out", str(tmp_path / kind)]
        assert job.main(words) == 1
        said = capsys.readouterr().err
        assert f"{uri} cannot be read" in said
        assert "(field: data)" in said
        assert read_manifest(tmp_path / kind) is None


def test_results_for_a_store_that_does_not_answer_end_the_job_before_it_computes(away, monkeypatch, capsys):
    monkeypatch.setattr(buckets, "RETRY_S", 0.5)
    monkeypatch.setattr(buckets, "REQUEST_S", 1.0)
    assert job.main([*WORDS, "--out", OUT]) == 1
    assert OUT in capsys.readouterr().err


def test_a_prefix_that_holds_the_results_of_another_work_is_refused(s3, capsys):
    assert job.main([*WORDS, "--out", OUT]) == 0
    before = committed()
    assert job.main(["--model", "m", "--what", "scores", "--workers", "0", "--out", OUT]) == 1
    assert f"holds the results of {before['job_id']}" in capsys.readouterr().err
    assert committed() == before


def test_a_bucket_that_is_not_there_is_named(s3, capsys):
    assert job.main([*WORDS, "--out", "s3://no-such-bucket/x"]) == 1
    assert "s3://no-such-bucket/x" in capsys.readouterr().err


def test_a_store_that_fails_in_the_middle_commits_nothing(s3, monkeypatch, capsys):
    monkeypatch.setattr(buckets, "RETRY_S", 0.5)
    with s3.rule(lambda method, key: 503 if method == "PUT" and "covariance" in key else None):
        assert job.main([*WORDS, "--out", OUT]) == 1
    assert OUT in capsys.readouterr().err
    assert committed() is None
    assert job.main([*WORDS, "--out", OUT]) == 0


def test_the_address_says_no_secrets():
    for wrong in ("s3://key:secret@store/x", "http://store/x", "s3://"):
        with pytest.raises(InvalidInput, match="results cannot be put") as told:
            Work("m", out=wrong)
        assert told.value.field == "out"
