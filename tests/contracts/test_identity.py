"""The id of an engine: one per run directory, the same for all its processes and over restarts."""

import shutil
import subprocess
import sys

from contracts.identity import engine_id

ASK = """
import sys
from pathlib import Path
from contracts.identity import engine_id
print(engine_id(Path(sys.argv[1])))
"""


def asked(path) -> str:
    return subprocess.run([sys.executable, "-c", ASK, str(path)], capture_output=True, text=True, check=True).stdout


def test_all_processes_of_a_run_directory_see_the_same_id_also_when_they_ask_at_once(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", ASK, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {process.communicate(timeout=60)[0] for process in started}
    assert len(answers) == 1
    assert answers == {asked(tmp_path / "run")}
    assert len(answers.pop().strip()) == 32
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["engine.id"]


def test_another_run_directory_and_a_copy_of_one_are_other_engines(tmp_path):
    first = engine_id(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    assert len({first, engine_id(tmp_path / "second"), engine_id(tmp_path / "copy")}) == 3
