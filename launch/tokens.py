"""``python -m launch token add|list|remove``: tokens of the HTTP face; a running engine sees changes in a second."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import EngineError
from contracts.settings import settings
from contracts.tokens import PER_SECOND, Scope, add_token, known_tokens, on_loopback, remove_token, token_file
from launch.command.call import Where, tell
from launch.console import make_console, tokens


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 1 when it could not be done, and the reason was shown."""
    asked = _parser().parse_args(arguments)
    console = make_console()
    path = token_file(settings())
    try:
        if asked.command == "add":
            secret = add_token(path, asked.name, Scope.parse(asked.scope), asked.rate)
            console.print(f"{asked.name}, scope {asked.scope}; this is shown once and kept nowhere:", markup=False)
            console.print(secret, markup=False, soft_wrap=True)
        elif asked.command == "remove":
            left = remove_token(path, asked.name)
            console.print(f"{asked.name} is no token any more", markup=False)
            if not left:
                console.print(f"none is left, so nobody is let in until one is added{_how_open(path)}", markup=False)
        else:
            known = known_tokens(settings()) or ()
            if asked.json or asked.arrow is not None:
                rows = [{"name": t.name, "scope": t.scope.name.lower(), "per_second": t.per_second} for t in known]
                tell({"tokens": rows}, Where("", as_json=asked.json, arrow=asked.arrow))
            else:
                console.print(tokens(known))
    except EngineError as error:
        console.print(error.detail, style="red", markup=False, soft_wrap=True)
        return 1
    return 0


def _how_open(path: object) -> str:
    return f"; without {path} none is required on loopback" if on_loopback(settings().http_host) else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launch token", description="Who may ask the engine over HTTP.")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a token and print it once")
    add.add_argument("name", help="how audit lines and lists call its holder")
    add.add_argument("--scope", choices=("read", "write", "admin"), default="read", help="default: read")
    add.add_argument("--rate", type=float, default=PER_SECOND, help=f"requests per second; default: {PER_SECOND:g}")
    every = commands.add_parser("list", help="show the names, scopes and rates")
    every.add_argument("--json", action="store_true", help="print them as JSON")
    every.add_argument("--arrow", type=Path, help="write them into an Arrow file")
    remove = commands.add_parser("remove", help="let a token in no more")
    remove.add_argument("name")
    return parser
