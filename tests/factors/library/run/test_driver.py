"""One compiled driver: nothing else is ever compiled; batches tell how far they are and can be stopped."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from numba.core import event
from numba.core.dispatcher import Dispatcher

from factors.library import CancelledError, compile_library
from factors.library import kernels as package
from factors.library.kernels import drive

FORMULAS = {"a": "rank(close) * mean(volume, 70)", "b": "indneutralize(ts_rank(close, 5), sector)"}


@pytest.fixture(scope="module")
def library():
    return compile_library(FORMULAS)


def inputs(panel, dates=slice(None), dtype=np.float64):
    fields = {name: values[dates].astype(dtype) for name, values in panel.fields.items()}
    groups = {name: values[dates].astype(np.int16) for name, values in panel.groups.items()}
    for values in (*fields.values(), *groups.values()):
        values.flags.writeable = False
    return fields, groups, panel.dates[dates]


def test_no_public_path_compiles_anything_once_the_driver_is_ready(library, panel_of):
    panel = panel_of(80, 9)
    drive.ready()
    with event.install_recorder("numba:compile") as compiled:
        for dtype in (np.float64, np.float32):
            fields, groups, dates = inputs(panel, dtype=dtype)
            for threads in (1, 2):
                for block in (1, 7, 32, 80, 200):
                    library.run(fields, groups=groups, dates=dates, threads=threads, block=block)
                    list(library.run_blocks(fields, groups=groups, dates=dates, threads=threads, block=block))
                stream = library.stream(9, threads=threads)
                stream.warm({k: v[:70] for k, v in fields.items()}, {k: v[:70] for k, v in groups.items()}, dates[:70])
                out = np.empty((2, 4, 9))
                for t in range(70, 74):
                    row = {k: v[t] for k, v in fields.items()}, {k: v[t] for k, v in groups.items()}, dates[t]
                    stream.update(*row, out=out[:, t - 70] if t > 71 else None)
                state = stream.state()
                for values in state.values():
                    values.flags.writeable = False
                stream.restore(state)
                stream.grow(11)
                stream.close()
    assert [str(entry.data["dispatcher"]) for entry in compiled.buffer] == []
    assert len(drive.run_phases.signatures) == 1


def test_arguments_of_another_type_are_refused_rather_than_compiled_for():
    drive.ready()
    with pytest.raises(TypeError):
        drive.run_phases(*(np.zeros((2, 2), np.float32),) * 20)


def test_there_are_few_kernels():
    modules = [value for value in vars(package).values() if getattr(value, "__name__", "").startswith(package.__name__)]
    names = {
        (value.__module__, name)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }
    assert 50 < len({name for _, name in names}) <= 150


def test_progress_is_told_block_by_block(library, panel_of):
    fields, groups, dates = inputs(panel_of(80, 9))
    told = []
    library.run(fields, groups=groups, dates=dates, block=32, progress=lambda *so_far: told.append(so_far))
    assert told == [(32, 80), (64, 80), (80, 80)]


def test_a_cancelled_batch_says_how_far_it_came_and_leaves_no_thread(library, panel_of):
    fields, groups, dates = inputs(panel_of(80, 9))
    done = []

    def workers():
        return [thread for thread in threading.enumerate() if thread.name.startswith("factor-library")]

    blocks = library.run_blocks(
        fields,
        groups=groups,
        dates=dates,
        threads=2,
        block=16,
        progress=lambda at, _: done.append(at),
        cancel=lambda: len(done) == 2,
    )
    whole = library.run(fields, groups=groups, dates=dates)
    for _ in range(2):
        first, block = next(blocks)
        np.testing.assert_array_equal(block[0], whole["a"][first : first + 16])
        assert workers()
    with pytest.raises(CancelledError, match="cancelled after 32 of 80 dates"):
        next(blocks)
    assert done == [16, 32]
    assert not workers()


def test_a_batch_that_is_left_half_way_ends_its_threads(library, panel_of):
    fields, groups, dates = inputs(panel_of(80, 9))
    blocks = library.run_blocks(fields, groups=groups, dates=dates, threads=2, block=16)
    next(blocks)
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("factor-library")]


def test_only_the_actor_of_the_library_imports_it_and_the_driver_is_loaded_when_it_is_first_used():
    code = """
import importlib, sys
from router.placement import CLASS_PATHS
modules = {name: path.partition(":")[0] for name, path in CLASS_PATHS.items()}
library = modules.pop("factor_library")
for module in modules.values():
    importlib.import_module(module)
assert len(modules) >= 10
assert "factors.library" not in sys.modules
importlib.import_module(library)
assert not sys.modules["factors.library.kernels.drive"].run_phases.signatures
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
