import os
import stat

import pytest

from contracts.files import point, replacing


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


def test_of_writers_that_keep_the_first_the_first_counts(tmp_path):
    path = tmp_path / "a"
    with replacing(path, keep_first=True) as first:
        first.write(b"first")
    with replacing(path, keep_first=True) as second:
        second.write(b"second")
    assert path.read_bytes() == b"first"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_without_hard_links_the_file_is_in_place_all_the_same(tmp_path, monkeypatch):
    def none(_source, _target):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", none)
    with replacing(tmp_path / "a", keep_first=True) as out:
        out.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_a_link_takes_the_place_of_what_was_there(tmp_path):
    link = tmp_path / "link"
    for target in ("one", "two"):
        (tmp_path / target).mkdir()
        point(link, tmp_path / target)
        assert link.readlink() == tmp_path / target
    assert sorted(found.name for found in tmp_path.iterdir()) == ["link", "one", "two"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        point(tmp_path / "folder", tmp_path / "one")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["folder", "link", "one", "two"]
