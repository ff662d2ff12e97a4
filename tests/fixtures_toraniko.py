"""Toraniko's answers to the whole real file, computed once while other tests run and kept beside toraniko itself.

Toraniko takes more than a minute for the file. A run that wants the answers starts it when the tests have been
collected and picks them up when a test asks; they stay in the oracle environment's folder under a name made of the
script, the data and the versions, so that a later run reads them.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORACLE = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
SCRIPT = ROOT / "tests" / "oracle_scripts" / "toraniko_whole.py"
DATA = ROOT.parent / "shared" / "data" / "sp500_2014_2018.parquet"
ANSWERS = ORACLE.parent.parent / "answers"
VERSIONS = (
    "import sys, importlib.metadata as m; print(sys.version_info[:3], *map(m.version, ('numpy', 'polars', 'toraniko')))"
)
DEADLINE_S = 540
FIXTURE = "toraniko_whole"


class Run:
    """Toraniko at work in a process of its own, or its answers of an earlier run.

    Of several test processes one starts it; each waits for the answers where it needs them.
    """

    def __init__(self, starts: bool) -> None:
        versions = subprocess.run([ORACLE, "-c", VERSIONS], capture_output=True, check=True).stdout
        key = hashlib.sha256(versions + SCRIPT.read_bytes() + DATA.read_bytes()).hexdigest()[:20]
        self.kept = ANSWERS / f"toraniko-{key}"
        self.process = None
        if self.kept.is_dir() or not starts:
            return
        ANSWERS.mkdir(exist_ok=True)
        for old in ANSWERS.glob("toraniko-*"):
            shutil.rmtree(old, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix="running-", dir=ANSWERS))
        # One thread, and after the tests themselves in the queue for a processor.
        one = dict.fromkeys(("POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            ["nice", "-n", "5", ORACLE, SCRIPT, DATA, self.folder, self.kept],
            env=os.environ | one,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answers(self) -> Path:
        """Wait for the answers and give their folder."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.kept.is_dir():
            if self.process is not None and self.process.poll() not in (None, 0):
                pytest.fail(self.process.stderr.read()[-2000:])
            assert time.monotonic() < deadline, f"toraniko has not answered within {DEADLINE_S} s"
            time.sleep(0.1)
        return self.kept

    def stop(self, others_wait: bool) -> None:
        """End it, or wait for it where another test process may need its answers."""
        if self.process is None:
            return
        if not others_wait:
            self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)
        shutil.rmtree(self.folder, ignore_errors=True)


RUN = pytest.StashKey[Run]()


def pytest_collection_finish(session):
    wanted = any(FIXTURE in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and ORACLE.exists() and DATA.exists():
        first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
        session.config.stash[RUN] = Run(starts=first)


def pytest_sessionfinish(session, exitstatus):
    if RUN in session.config.stash:
        several = hasattr(session.config, "workerinput")
        session.config.stash[RUN].stop(others_wait=several and exitstatus != pytest.ExitCode.INTERRUPTED)


@pytest.fixture(scope="session")
def toraniko_whole(request):
    """The folder of toraniko's answers to the whole file, one Parquet file each."""
    if RUN not in request.config.stash:
        pytest.skip("the real data file or .venv-oracles is not here")
    return request.config.stash[RUN].answers()
