"""docs/notebooks.md says what the examples say, with pictures that are there and small."""

import re

from notebooks import HEAD, ORDER, PAGE, PICTURES, PREFIX, WITH_ENGINE, WITHOUT_ENGINE, cells, path_of, shown

MOST_BYTES = 120_000


def test_the_page_has_every_cell_of_every_example_in_its_order():
    text, at = PAGE.read_text(), len(HEAD.rstrip())
    assert text.startswith(HEAD.rstrip()), "run `make notebooks`"
    assert sorted(ORDER) == sorted([*WITHOUT_ENGINE, *WITH_ENGINE])
    for name in ORDER:
        for cell in cells(path_of(name)):
            found = text.find(shown(cell), at)
            assert found >= 0, f"{name} has changed: run `make notebooks`"
            at = found + len(shown(cell))


def test_its_pictures_are_there_small_and_no_other():
    linked = re.findall(r"\]\(pictures/(.+?)\)", PAGE.read_text())
    assert len(linked) >= len(ORDER)
    assert sorted(linked) == sorted(path.name for path in PICTURES.glob(f"{PREFIX}*"))
    for name in ORDER:
        assert any(name.replace("_", "-") in file for file in linked), name
    assert all((PICTURES / file).stat().st_size < MOST_BYTES for file in linked)


def test_nothing_of_the_machine_that_wrote_it_is_on_it():
    assert not re.search(r"/tmp/|/work/|/home/|127\.0\.0\.1:(?!8300)\d+", PAGE.read_text())
