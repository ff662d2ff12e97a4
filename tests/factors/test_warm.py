"""Compiling once per version, behind progress lines."""

import subprocess
import sys

import pytest

from factors import warm as module


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """The stages replaced by names in a list: compiling is tested by every other test that runs a kernel."""
    ran = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(module, "seed", lambda: 0)
    for name in ("_model", "_frames", "_library"):
        monkeypatch.setattr(module, name, lambda name=name: ran.append(name))
    return ran


def test_kernels_are_compiled_once_and_each_stage_is_told(stages):
    said = []
    module.warm(said.append)
    assert stages == ["_model", "_frames", "_library"]
    assert len(said) == 5
    module.warm(said.append)
    assert len(stages) == 3
    assert len(said) == 5


def test_the_stages_run_in_processes_of_their_own_that_tell_of_themselves(stages, monkeypatch):
    monkeypatch.setattr(module, "_in_a_process", lambda names: [f"{name}: done" for name in names])
    said = []
    module.warm(said.append, processes=True)
    assert stages == []
    assert sorted(said[1:-1]) == sorted(f"  kernels of the {name}: done" for name in module.STAGES)
    assert module.marker().exists()


def test_a_stage_in_a_process_that_fails_says_why(stages):
    with pytest.raises(RuntimeError, match=r"(?s)of the feathers cannot be compiled.*KeyError: 'feathers'"):
        module._in_a_process(["feathers"])


def test_a_stage_ends_with_the_process_that_started_it(stages):
    """However that ends: the child reads the end of its input."""
    words = [sys.executable, "-m", "factors.warm", "--stages", "model"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=module.ROOT.parent) as child:
        child.stdin.close()
        assert child.wait(60) == 1


def test_the_stages_can_be_timed_though_all_is_compiled(stages):
    module.warm(lambda line: None)
    said = []
    module.warm(said.append, again=True)
    assert len(stages) == 6
    assert said[0] == "loading"
    assert "factor library: 0.0 s, 0 functions compiled" in said[3]


def test_a_stage_that_fails_is_tried_again_next_time(stages, monkeypatch):
    def broken():
        raise RuntimeError("no compiler")

    monkeypatch.setattr(module, "_library", broken)
    with pytest.raises(RuntimeError):
        module.warm(lambda line: None)
    assert not module.marker().exists()


def test_another_version_of_the_sources_has_another_marker(monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    before = module.marker()
    (tmp_path / "a.py").write_text("x = 2")
    assert module.marker() != before


def test_sources_that_were_moved_have_another_marker_as_numba_does_not_find_what_it_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    markers = set()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x = 1")
        monkeypatch.setattr(module, "ROOT", tmp_path / name)
        markers.add(module.marker())
    assert len(markers) == 2


def test_what_is_compiled_beside_the_sources_is_taken_to_where_numba_looks_for_it(monkeypatch, tmp_path):
    from numba.core.caching import _CacheLocator

    sources, kept = tmp_path / "sources", tmp_path / "kept"
    monkeypatch.setattr(module, "ROOT", sources)
    for name in ("__pycache__", "risk/__pycache__", "library/__pycache__/factor-library-0/kernels_1"):
        (sources / name).mkdir(parents=True)
    (sources / "risk" / "a.py").write_text("x = 1")
    (sources / "risk" / "__pycache__" / "a.f-1.py311.nbi").write_text("index")
    (sources / "risk" / "__pycache__" / "a.cpython-311.pyc").write_text("no kernel")
    (sources / "library" / "__pycache__" / "factor-library-0" / "kernels_1" / "drive.nbc").write_text("code")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert module.seed() == 0
    beside = module.marker()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(kept))
    # Without the marker it may be of another version.
    assert module.seed() == 0
    beside.touch()
    assert module.seed() == 2
    folder = _CacheLocator.get_suitable_cache_subpath(str(sources / "risk" / "a.py"))
    assert (kept / folder / "a.f-1.py311.nbi").read_text() == "index"
    assert (kept / "factor-library-0" / "kernels_1" / "drive.nbc").read_text() == "code"
    assert module.seed() == 0
