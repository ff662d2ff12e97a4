"""Names a day that is put behind a version of a model, so that two processes know whether they mean the same one."""

from __future__ import annotations

import hashlib

import numpy as np

from factors.panel.panel import Panel
from store import Version


def name_of_day(base: Version, panel: Panel) -> str:
    """Name the last day of a panel as the one that comes next behind a version.

    What follows from the days of that version and from the row is the same wherever the name is the same. Numbers of
    versions repeat in a store that was begun anew, so what made the version counts too.

    Parameters
    ----------
    base : Version
        What the day comes behind.
    panel : Panel
        Its last row is the day, in the form in which it is stored.

    Returns
    -------
    str
        32 hexadecimal digits: of the version, the date, the names, and each field and category to the bit.
    """
    made = base.manifest
    digest = hashlib.blake2b(digest_size=16)
    about = (made.model_id, str(made.version), made.request_id, str(made.created_at), str(panel.dates[-1]))
    digest.update("\n".join((*about, *panel.symbols)).encode())
    for name, values in sorted(panel.fields.items()):
        digest.update(f"\n{name}:".encode())
        digest.update(np.ascontiguousarray(values[-1], np.float64).tobytes())
    for name, kinds in sorted(panel.categories.items()):
        digest.update("\n".join((f"\n{name}:", *kinds.names)).encode())
        digest.update(np.ascontiguousarray(kinds.codes[-1], np.int16).tobytes())
    return digest.hexdigest()
