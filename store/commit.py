"""How a change of a value becomes durable and newest, for all who share a store.

Whatever the store is, its values are read from files below a folder of this node. A value's newest state is one small
file, its *head*; all else never changes. `FolderCommit` is a store that is that folder. `store.objects.ObjectCommit` is
one in an object store, of which the folder holds a copy.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from contracts.errors import Unavailable
from contracts.files import replacing
from store.lock import locked
from store.parts import sync_all, sync_folder

T = TypeVar("T")
ATTEMPTS = 10
_LONGEST_PAUSE_S = 0.5


class HeadMoved(Exception):
    """Another node made its change first."""


class Step(NamedTuple):
    """A change of one value.

    Parameters
    ----------
    head
        The value's file of its newest state.
    content
        What it becomes.
    kept
        Where the same content stays when the head goes on; None for a value without older versions.
    kept_before
        That place of the head that goes.
    added
        Files that the content names and that no head named before: written, not yet durable.
    private
        The head is for this user alone.
    """

    head: Path
    content: bytes
    kept: Path | None = None
    kept_before: Path | None = None
    added: Sequence[Path] = ()
    private: bool = False


class Commit(Protocol):
    """Where a store lies."""

    @property
    def root(self) -> Path:
        """The folder that readers open files of."""

    def counts(self) -> dict[str, int]:
        """Count what was done beyond the folder."""

    def refresh(self, head: Path) -> None:
        """Have the newest head lie at its place; under the lock of its folder."""

    def publish(self, step: Step) -> None:
        """Make a change durable and newest; under the lock, after `refresh`. Raises `HeadMoved`."""

    def remove(self, head: Path, others: Sequence[Path] = ()) -> None:
        """End a value that keeps no versions, durably; its other files after it."""

    def drop(self, paths: Sequence[Path]) -> None:
        """Remove files that no head names any more."""

    def fetch(self, path: Path) -> None:
        """Have a file that never changes lie at its place. Raises `FileNotFoundError` where the store has none."""

    def look(self, head: Path) -> bool:
        """Have a head that another node made lie at its place, without a lock; true where it is another than before."""

    def missed(self, head: Path) -> bool:
        """Tell whether a head that was not at its place is there now: another node may have made it a moment ago."""

    def names(self, folder: Path) -> list[str]:
        """Names of the files of a folder of what never changes, in order."""

    def retire(self, folder: Path, keep: int) -> None:
        """Let older versions of a value but the newest `keep` go where more than this folder has them."""


def attempt(place: Commit, head: Path, change: Callable[[], T]) -> T:
    """Make a change from the newest head there is, under the folder's lock; again when another node was faster.

    Raises
    ------
    Unavailable
        Others were faster `ATTEMPTS` times.
    """
    folder = head.parent
    if not folder.is_dir():
        place.missed(head)
    for number in range(ATTEMPTS):
        with locked(folder) if folder.is_dir() else contextlib.nullcontext():
            place.refresh(head)
            with contextlib.suppress(HeadMoved):
                return change()
        time.sleep(random.uniform(0, min(0.02 * 2**number, _LONGEST_PAUSE_S)))  # noqa: S311
    raise Unavailable(f"{head.parent.name} is changed by others all the time: ask again", retry_after_s=1.0)


class FolderCommit:
    """A store that is a folder, of this node or of a file system that nodes share. The commit is an `os.replace`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def counts(self) -> dict[str, int]:
        """Count nothing."""
        return {}

    def refresh(self, head: Path) -> None:
        """Do nothing: the file is the head."""

    def publish(self, step: Step) -> None:
        """Make durable what the change adds, all at once, and then its name."""
        with replacing(step.head, private=step.private) as newest:
            newest.write(step.content)
            newest.flush()
            also = {*step.added, *(path.parent for path in step.added)}
            if step.kept is not None:
                step.kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with replacing(step.kept) as out:
                    out.write(step.content)
                also |= {step.kept, step.kept.parent}
            sync_all([newest.fileno(), *sorted(also)])
        sync_folder(step.head.parent)

    def remove(self, head: Path, others: Sequence[Path] = ()) -> None:
        """Remove the files, the head first."""
        head.unlink()
        self.drop(others)
        sync_folder(head.parent)

    def drop(self, paths: Sequence[Path]) -> None:
        """Remove the files."""
        for path in paths:
            path.unlink(missing_ok=True)

    def fetch(self, path: Path) -> None:
        """Say that it is not there: it was looked for before."""
        raise FileNotFoundError(2, "No such file or directory", str(path))

    def look(self, head: Path) -> bool:  # noqa: ARG002
        """Do nothing: the file is the head."""
        return False

    def missed(self, head: Path) -> bool:
        """Look again."""
        return head.exists()

    def names(self, folder: Path) -> list[str]:
        """List the folder."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        return []

    def retire(self, folder: Path, keep: int) -> None:
        """Do nothing: whoever commits tidies the folder."""
