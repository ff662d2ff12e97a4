"""Tables that pass between two processes of a machine in files."""

import os

import pytest

from contracts.handed_tables import LEFT_S, hand, take

TABLES = [b"\xff\xff\xff\xffone", b"\xff\xff\xff\xfftwo"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "handed"


def test_tables_come_as_they_went_and_leave_no_file(folder):
    handed = hand(folder, TABLES)
    assert len(list(folder.iterdir())) == 2
    assert take(handed) == TABLES
    assert list(folder.iterdir()) == []


def test_tables_go_as_they_are_where_no_file_can_be_written(folder):
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    assert hand(folder, TABLES) == TABLES
    assert take(TABLES) == TABLES


def test_a_file_that_is_gone_is_an_error_and_the_others_are_removed(folder):
    handed = hand(folder, TABLES)
    next(folder.iterdir()).unlink()
    with pytest.raises(FileNotFoundError):
        take(handed)
    assert list(folder.iterdir()) == []


def test_what_a_killed_taker_left_is_removed_by_a_later_hand_over(folder):
    hand(folder, TABLES)
    for path in folder.iterdir():
        old = path.stat().st_mtime - LEFT_S - 1
        os.utime(path, (old, old))
    handed = hand(folder, TABLES[:1])
    assert len(list(folder.iterdir())) == 1
    assert take(handed) == TABLES[:1]
