"""The quality report of a stored version."""

from __future__ import annotations

import numpy as np

from actors.reading.lineage import Before
from actors.reading.slices import settings_of
from factors.panel.door import Door
from factors.panel.quality.report import QualityReport
from store import Version


def door_of(version: Version) -> Door:
    """Read the door that the next days of a model come in through."""
    names = [name for name in version.latest_names() if name.startswith("door/")]
    return Door.restored(settings_of(version).read_as, {name: np.asarray(version.latest(name)) for name in names})


def door_before(before: Before) -> Door:
    """Read the door of an earlier state."""
    return Door.restored(settings_of(before.version).read_as, before.state(1).latest)


def quality_of(version: Version) -> QualityReport:
    """Read what looked wrong in what came into a model, as `FactorModel.quality_` gives it."""
    labels = {name: tuple(words) for name, words in version.manifest.meta["category_names"].items()}
    return door_of(version).report(version.symbols, labels)
