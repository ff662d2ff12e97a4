"""The quality report of a stored version."""

from __future__ import annotations

import numpy as np

from actors.reading.slices import settings_of
from factors.panel.door import Door
from factors.panel.quality.report import QualityReport
from store import Version


def quality_of(version: Version) -> QualityReport:
    """Read what looked wrong in what came into a model, as `FactorModel.quality_` gives it."""
    names = [name for name in version.latest_names() if name.startswith("door/")]
    door = Door.restored(settings_of(version).read_as, {name: np.asarray(version.latest(name)) for name in names})
    labels = {name: tuple(words) for name, words in version.manifest.meta["category_names"].items()}
    return door.report(version.symbols, labels)
