"""Opens the place that a work's results go to."""

from __future__ import annotations

from contracts.settings import Settings
from jobs.parts import FolderResults, Results
from jobs.work import Work


def open_results(work: Work, current: Settings) -> Results:
    """Open a folder, or what a URI names.

    Raises
    ------
    Unavailable
        The package of object stores is not installed, or the environment does not say how to reach the store.
    """
    folder = work.folder(current.store_path)
    if work.in_objects:
        from jobs.object_parts import ObjectResults

        assert work.out is not None
        return ObjectResults(work.out, folder)
    return FolderResults(folder)
