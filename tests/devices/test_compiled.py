"""Compiled models are kept on disk, made anew when anything they depend on changes, and never needed for an answer.

Core ML compiles and predicts on a Mac only, so two functions of coremltools are played here: compiling moves the
package's files, as Core ML moves its own, and a loaded model computes what the package says by value inference. What a
Mac does with a kept model is in `test_apple.py`.
"""

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from contracts.settings import settings
from devices import compiled, cpu, neural_engine
from devices.compiled import HASHES, MODEL
from devices.detect import device_folder

ct = pytest.importorskip("coremltools")
LEFT, RIGHT = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])


class Played:
    """What stands in for Core ML: it counts, and fails where it is told to."""

    def __init__(self):
        self.compiled, self.loads = [], []
        self.compiling = self.loading = None

    def compile_model(self, package, destination):
        self.compiled.append(package)
        if self.compiling is not None:
            raise self.compiling
        Path(package).rename(destination)

    def load(self, path, compute_units):
        self.loads.append(path)
        assert compute_units is ct.ComputeUnit.CPU_AND_NE
        if self.loading is not None and self.loading(Path(path)):
            raise RuntimeError("Error creating Core ML model")
        return Model(path)


class Model:
    """Computes the program "product" of a package, or says which other program it is."""

    def __init__(self, path):
        spec = ct.models.MLModel(path, skip_model_load=True).get_spec()
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        self.operations = [op.type for op in block.operations]
        self.names = [one.name for one in spec.description.input]

    def predict(self, given):
        assert set(self.operations) == {"const", "matmul"}
        (made,) = neural_engine.evaluate("product", *(given[name] for name in self.names))
        return {"made": made.astype(np.float16)}


@pytest.fixture
def core_ml(tmp_path, monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path))
    settings.cache_clear()
    played = Played()
    monkeypatch.setattr("coremltools.models.utils.compile_model", played.compile_model)
    monkeypatch.setattr("coremltools.models.CompiledMLModel", played.load)
    anew()
    yield played
    anew()
    settings.cache_clear()


def anew():
    """Forget what is loaded, as a process that starts has nothing loaded."""
    neural_engine.loaded.cache_clear()
    gc.collect()


def ask(left=LEFT, right=RIGHT):
    anew()
    np.testing.assert_array_equal(neural_engine.exposures(left, right), cpu.exposures(left, right))


def kept():
    return sorted(path for path in (device_folder() / "compiled").iterdir())


def test_a_model_is_compiled_once_and_loaded_by_every_process_after(core_ml):
    ask()
    ask()
    (entry,) = kept()
    assert len(core_ml.compiled) == 1
    assert core_ml.loads == [str(entry / MODEL)] * 2, "also the first load is by the path that stays"


def test_a_process_that_has_it_loaded_does_not_ask_the_disk_again(core_ml):
    ask()
    neural_engine.exposures(LEFT, RIGHT)
    assert len(core_ml.loads) == 1


def test_nothing_is_converted_for_a_model_that_is_kept(core_ml, monkeypatch):
    ask()
    monkeypatch.setattr(neural_engine, "program", lambda *_, **__: pytest.fail("it was converted again"))
    ask()


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(compiled, "chip", lambda: "Apple M9, macOS 26.1 25B78"),
        lambda patch: patch.setattr(ct, "__version__", "99.0"),
        lambda patch: patch.setattr(neural_engine, "__file__", __file__),
    ],
    ids=["chip or system", "coremltools", "how programs are built"],
)
def test_a_change_of_what_a_model_depends_on_makes_a_new_one(core_ml, monkeypatch, change):
    ask()
    with monkeypatch.context() as patch:
        change(patch)
        ask()
        assert (len(core_ml.compiled), len(kept())) == (2, 2)
    ask()
    assert len(core_ml.compiled) == 2, "and the former is found again"


def test_shapes_bodies_and_weights_are_told_apart(core_ml):
    weights = neural_engine._Constants((np.ones((3, 2)), np.zeros(2)))
    others = neural_engine._Constants((np.ones((3, 2)), np.ones(2)))
    neural_engine.loaded("product", ((1, 1, 128), (1, 128, 8)))
    neural_engine.loaded("product", ((1, 2, 128), (1, 128, 8)))
    neural_engine.loaded("network r", ((8, 3),), weights)
    neural_engine.loaded("network i", ((8, 3),), weights)
    neural_engine.loaded("network r", ((8, 3),), others)
    assert len(kept()) == 5


def test_inputs_have_the_names_by_which_they_are_given():
    for body, shapes in (
        ("product", ((2, 3, 128), (2, 128, 4))),
        ("standardize", ((4, 2, 128), (4, 1, 1), (1, 1, 1))),
    ):
        found = neural_engine.program(body, shapes).get_spec().description.input
        assert tuple(one.name for one in found) == neural_engine.INPUTS[: len(shapes)]


def cut_short(entry):
    found = max((path for path in (entry / MODEL).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    found.write_bytes(found.read_bytes()[:-1])


def without_a_file(entry):
    next(path for path in (entry / MODEL).rglob("*") if path.is_file()).unlink()


def without_hashes(entry):
    (entry / HASHES).unlink()


def hashes_of_nothing(entry):
    (entry / HASHES).write_text("{")


def a_file(entry):
    entry.rename(entry.with_name("elsewhere"))
    entry.write_text("not a folder")


def a_link(entry):
    entry.rename(entry.with_name("elsewhere"))
    entry.symlink_to("elsewhere")


@pytest.mark.parametrize("damage", [cut_short, without_a_file, without_hashes, hashes_of_nothing, a_file, a_link])
def test_an_entry_that_is_damaged_or_another_ones_is_not_given_to_core_ml_and_is_made_anew(core_ml, damage, caplog):
    ask()
    (entry,) = kept()
    damage(entry)
    core_ml.loads.clear()
    ask()
    assert len(core_ml.compiled) == 2
    assert len(core_ml.loads) == 1
    assert "is made anew" in caplog.text
    ask()
    assert len(core_ml.compiled) == 2


def test_an_entry_that_core_ml_does_not_load_is_made_anew(core_ml):
    ask()
    refused = iter([True, False])
    core_ml.loading = lambda path: next(refused)
    ask()
    assert len(core_ml.compiled) == 2


def plain(monkeypatch):
    """Let a model that Core ML compiled for this process alone answer; give how often it was asked for one."""
    asked, program = [], neural_engine.program

    def made(*arguments, load=False):
        if not load:
            return program(*arguments)
        asked.append(arguments)
        folder = device_folder().parent / f"own-{len(asked)}.mlpackage"
        program(*arguments).save(str(folder))
        return Model(str(folder))

    monkeypatch.setattr(neural_engine, "program", made)
    return asked


def test_the_answer_comes_where_nothing_can_be_compiled_for_keeps(core_ml, monkeypatch, caplog):
    asked = plain(monkeypatch)
    core_ml.compiling = RuntimeError("compiler error")
    ask()
    assert len(asked) == 1
    assert "not kept: RuntimeError: compiler error" in caplog.text
    assert kept() == [], "nothing is left half made"


def test_the_answer_comes_where_the_folder_cannot_be_made(core_ml, monkeypatch, caplog):
    asked = plain(monkeypatch)
    device_folder().write_text("a file in its place")
    ask()
    assert len(asked) == 1
    assert "not kept: " in caplog.text


def test_the_answer_comes_where_core_ml_never_loads_what_was_kept(core_ml, monkeypatch):
    asked = plain(monkeypatch)
    core_ml.loading = lambda path: True
    ask()
    assert len(asked) == 1


def entry_of(name, size=10, age=0.0):
    folder = device_folder() / "compiled" / name
    (folder / MODEL).mkdir(parents=True)
    (folder / MODEL / "weights").write_bytes(bytes(size))
    at = folder.stat().st_mtime - age
    os.utime(folder, (at, at))
    return folder


@pytest.mark.parametrize(("bound", "value"), [("KEPT", 2), ("KEPT_BYTES", 120_000)])
def test_beyond_the_bounds_what_was_not_used_for_longest_goes(core_ml, monkeypatch, bound, value):
    monkeypatch.setattr(compiled, bound, value)
    old, newer = entry_of("a" * 32, 100_000, age=200.0), entry_of("b" * 32, 100_000, age=100.0)
    ask()
    assert not old.exists()
    assert newer.exists()
    assert len(kept()) == 2


def test_using_an_entry_makes_it_young(core_ml, monkeypatch):
    ask()
    (used,) = kept()
    os.utime(used, (1.0, 1.0))
    entry_of("a" * 32, age=100.0)
    ask()
    anew()
    monkeypatch.setattr(compiled, "KEPT", 2)
    neural_engine.loaded("product", ((1, 2, 128), (1, 128, 8)))
    assert used.exists()
    assert not (used.parent / ("a" * 32)).exists()


def test_what_a_process_uses_is_not_dropped_until_it_is_done(core_ml, monkeypatch):
    monkeypatch.setattr(compiled, "KEPT", 0)
    first = neural_engine.loaded("product", ((1, 1, 128), (1, 128, 8)))
    neural_engine.loaded("product", ((1, 2, 128), (1, 128, 8)))
    assert len(kept()) == 2
    del first
    anew()
    neural_engine.loaded("product", ((1, 4, 128), (1, 128, 8)))
    assert len(kept()) == 1


def test_files_that_are_not_ours_stay(core_ml, monkeypatch):
    monkeypatch.setattr(compiled, "KEPT", 0)
    other = entry_of("notes-of-somebody")
    ask()
    assert other.exists()


def test_several_that_make_the_same_at_once_leave_one_entry_and_all_have_it(core_ml):
    together, found = threading.Barrier(4), []
    converted = device_folder().parent / "converted.mlpackage"
    neural_engine.program("product", ((1, 1, 128), (1, 128, 8))).save(str(converted))

    def save(package):
        # Several processes are played by threads, of which coremltools can convert in one only.
        shutil.copytree(converted, package)
        together.wait(60.0)  # nobody finds it made

    def one():
        found.append(compiled.load(device_folder() / "compiled", "c" * 32, save))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120.0)
    assert [type(model) for model in found] == [Model] * 4
    assert [path.name for path in kept()] == ["c" * 32]


KILLED = """
import sys
from pathlib import Path
from coremltools.models import utils
from devices import compiled
def compile_model(package, destination):
    Path(destination).mkdir()
    (Path(destination) / "half").write_text("half")
    print("compiling", flush=True)
    sys.stdin.read()
utils.compile_model = compile_model
compiled.load(Path(sys.argv[1]), "d" * 32, lambda package: None)
"""


def test_what_a_process_left_that_was_killed_while_compiling_is_no_entry_and_goes(core_ml):
    folder = device_folder() / "compiled"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "compiling\n"
        ask()
        assert len([path for path in kept() if path.name.startswith(".")]) == 1, "it is being made"
        os.kill(process.pid, signal.SIGKILL)
    neural_engine.loaded("product", ((1, 2, 128), (1, 128, 8)))
    assert len(kept()) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", path.name) for path in kept())


def test_an_entry_says_what_its_files_are(core_ml):
    ask()
    (entry,) = kept()
    files = {path.relative_to(entry / MODEL).as_posix() for path in (entry / MODEL).rglob("*") if path.is_file()}
    assert json.loads((entry / HASHES).read_text()).keys() == files
