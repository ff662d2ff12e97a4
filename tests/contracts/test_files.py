import os
import stat

import pytest

from contracts.files import replacing


def test_a_file_is_in_place_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with replacing(path) as out:
        out.write(b"new")
        out.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_block_that_fails_leaves_the_former_file_and_nothing_else(tmp_path, durable):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def write():
        with replacing(path, durable=durable) as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


def test_a_private_file_is_its_owners_from_the_first_byte(tmp_path):
    before = os.umask(0)
    try:
        with replacing(tmp_path / "secret", private=True) as out:
            (fresh,) = tmp_path.iterdir()
            assert stat.S_IMODE(fresh.stat().st_mode) == 0o600
            out.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_two_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first", "the one that ended last"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_not_there_is_an_error_of_its_own(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "no" / "a"):
        pass
