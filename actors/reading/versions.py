"""The kept versions of a model, and what each changed against the one before it, in words."""

from __future__ import annotations

from typing import Any

from store import Manifest, ModelStore

WORDS = {"settings": "settings", "recipe": "cleaning", "factor_names": "factors", "fields": "fields"}
PATHS_MOST = 12


def version_rows(store: ModelStore, model_id: str) -> list[dict[str, Any]]:
    """Describe the kept versions, the newest first.

    Raises
    ------
    UnknownModel, ModelUnreadable
        There is no such model, or its newest version cannot be read.
    """
    head = store.head(model_id).manifest
    rows = []
    before: Manifest | None = None
    for manifest in store.kept(model_id):
        rows.append(
            {
                "version": manifest.version,
                "operation": manifest.operation,
                "created_at": manifest.created_at,
                "n_dates": manifest.n_dates,
                "n_assets": manifest.n_assets,
                "last_date": manifest.blocks[-1].last_date if manifest.blocks else None,
                "newest": manifest.version == head.version,
                "changed": changes(before, manifest),
            }
        )
        before = manifest
    return rows[::-1]


def changes(before: Manifest | None, now: Manifest) -> list[str]:
    """Say what a version changed against another; one that is the oldest kept has nothing to be compared with."""
    if before is None:
        return ["the oldest version that is kept"]
    if now.deleted:
        return ["the model was deleted"]
    if before.deleted:
        return ["the model was made again"]
    out = []
    added = now.n_dates - before.n_dates
    if now.since == before.since:
        out.append(f"{added} days added")
    else:
        out.append(f"history replaced{f', {added:+d} days' if added else ''}")
    if now.n_assets != before.n_assets:
        out.append(f"{now.n_assets - before.n_assets:+d} names")
    for name, word in WORDS.items():
        paths = sorted(_differs(before.meta.get(name), now.meta.get(name), word))
        out += paths[:PATHS_MOST] + ([f"{len(paths) - PATHS_MOST} more of {word}"] if len(paths) > PATHS_MOST else [])
    return out


def _differs(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for name in {*old, *new} for line in _differs(old.get(name), new.get(name), f"{path}.{name}")]
    if isinstance(old, list) and isinstance(new, list) and old != new and all(isinstance(x, str) for x in (*old, *new)):
        added, gone = sorted(set(new) - set(old)), sorted(set(old) - set(new))
        return [f"{path}: {', '.join([*(f'+{x}' for x in added), *(f'-{x}' for x in gone)]) or 'another order'}"]
    return [] if old == new else [f"{path}: {old} to {new}"]
