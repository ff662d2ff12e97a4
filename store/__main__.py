"""``python -m store check|copy|repair``: look for damage, back up or move, and make whole again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from contracts.errors import EngineError
from contracts.settings import settings
from store.copy import copy
from store.damage import check
from store.files import Files, ObjectFiles, opened
from store.probe import probe
from store.repair import repair


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; 1 where damage was found that is not mended, 2 where it could not be done."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "copy":
            done = copy(opened(asked.source), opened(asked.target), lambda name: print(name, file=sys.stderr))
            print(
                f"{done.values} values, {done.versions} versions: {done.files} files written, "
                f"{done.size / 1e6:.1f} MB; {done.kept} were there"
            )
            for model, why in done.damaged.items():
                print(f"{model} is damaged and was left as the copy had it: {why}; see python -m store repair")
            return int(bool(done.damaged))
        files = opened(asked.store or settings().store_uri or settings().store_path)
        if isinstance(files, ObjectFiles):
            probe(files.bucket)
            print(f"{files.name} holds the conditions that commits need")
        if not files.exists():
            print(f"there is no store at {files.name}", file=sys.stderr)
            return 2
        return _check(files) if asked.command == "check" else _repair(files, dry=asked.dry_run)
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _check(files: Files) -> int:
    found = list(check(files))
    for one in found:
        print(f"{one.kind}: {one.file} of {one.value} version {one.version or 'newest'}: {one.detail}")
    print(
        "nothing is damaged" if not found else f"{len(found)} damaged; python -m store repair makes models whole again"
    )
    return int(bool(found))


def _repair(files: Files, *, dry: bool) -> int:
    found = repair(files, dry=dry)
    would = "would be" if dry else "is"
    for one in found:
        if one.version is None:
            print(f"{one.model_id}: no version of it is whole; restore it from a copy")
        else:
            lost = f", {one.days_lost} days fewer" if one.days_lost else ""
            print(f"{one.model_id}: version {one.version} {would} what version {one.of} was{lost}")
    if not found:
        print("the newest version of every model is whole")
    return int(any(one.version is None for one in found) or (dry and bool(found)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m store", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    looking = commands.add_parser("check", help="find torn, missing and unreadable files; changes nothing")
    mending = commands.add_parser("repair", help="give damaged models a new version: the newest whole one")
    mending.add_argument("--dry-run", action="store_true", help="say what would be done")
    for one in (looking, mending):
        one.add_argument("store", nargs="?", help="a folder, or s3://bucket/prefix; default: the settings'")
    copying = commands.add_parser("copy", help="back up, restore or move, also beside a running engine")
    copying.add_argument("source", help="a folder, or s3://bucket/prefix")
    copying.add_argument("target", help="the same")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
