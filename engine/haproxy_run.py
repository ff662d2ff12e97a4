"""What Serve starts as HAProxy: puts into its configuration what Serve cannot be told, then becomes HAProxy.

Run by the small script that `engine.haproxy` writes, as
``python -I -S haproxy_run.py HAPROXY FOLDER ENGINE_ID ARGS...``. Every reload of HAProxy waits for it, so it imports
nothing of ours, and of the standard library little.

* What is passed on to a replica says which engine passed it on: behind a port that changed hands may be another's.
* The pages for statistics and metrics listen on loopback. Serve binds them to all interfaces.
* What no application takes is answered 503: ours takes every path, so that there is none yet. Serve says 404.
* The answers that HAProxy gives by itself are problem documents, in files of the run directory that are made anew when
  somebody removed them: without them no reload succeeds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROUTED_HEADER = "factor-engine-routed-by"
LOOPBACK_SECTIONS = ("frontend prometheus", "listen stats")
# What HAProxy answers by itself: its status (which names the file), ours, a code of ours, its title, whether asking
# again helps, and what happened.
ANSWERS: tuple[tuple[int, int, str, str, bool, str], ...] = (
    (400, 400, "malformed_body", "Malformed request", False, "the request is not HTTP as the proxy reads it"),
    (408, 408, "deadline_exceeded", "Deadline exceeded", True, "the request did not come in time"),
    (500, 500, "internal", "Internal error", False, "the proxy failed"),
    (502, 503, "unavailable", "Component unavailable", True, "the HTTP replica ended before it answered"),
    (503, 503, "unavailable", "Component unavailable", True, "no HTTP replica takes requests at the moment"),
    (504, 504, "deadline_exceeded", "Deadline exceeded", True, "the HTTP replica did not answer in time"),
)
REASONS = {400: "Bad Request", 408: "Request Timeout", 500: "Internal Server Error", 503: "Service Unavailable"}


def answer(status: int, code: str, title: str, retryable: bool, detail: str) -> str:
    """Give an answer of HAProxy's own as it travels: a problem document as in `web.problems`."""
    again = f"true,{chr(34)}retry_after_s{chr(34)}:1.0" if retryable else "false"
    body = (
        f'{{"type":"urn:factor-engine:problem:{code}","title":"{title}","status":{status},"code":"{code}",'
        f'"detail":"{detail}","retryable":{again}}}'
    )
    lines = [
        f"HTTP/1.1 {status} {REASONS.get(status, 'Gateway Timeout')}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(["Retry-After: 1"] if retryable else []),
        "",
        body,
    ]
    return "\r\n".join(lines)


def write_answers(folder: Path) -> dict[int, Path]:
    """Write the answers that are missing; gives HAProxy's status: file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {}
    for own, status, code, title, retryable, detail in ANSWERS:
        path = files[own] = folder / f"{own}.http"
        if not path.exists():
            put(path, answer(status, code, title, retryable, detail))
    return files


def put(path: Path, text: str) -> None:
    """Put a file in place whole, as `contracts.files` does, which is not to be had here."""
    part = path.with_suffix(f".{os.getpid()}.tmp")
    part.write_text(text)
    part.replace(path)


def rewritten(configuration: str, engine_id: str, answers: dict[int, Path]) -> str:
    """Give Serve's configuration with our additions; one that has them already stays as it is."""
    marker = f"http-request set-header {ROUTED_HEADER} {engine_id}"
    if marker in configuration:
        return configuration
    out: list[str] = []
    section = ""
    for given in configuration.splitlines():
        line, text = given, given.strip()
        if line and not line[0].isspace():
            section = text
        if text.startswith("errorfile "):
            continue
        if section == "backend default_backend" and text.startswith("http-request return status 404 "):
            line = "    http-request deny deny_status 503"
        if section in LOOPBACK_SECTIONS and text.startswith("bind "):
            line = f"    bind 127.0.0.1:{text.rpartition(':')[2]}"
        out.append(line)
        if section == "frontend http_frontend" and text.startswith("bind "):
            out.append(f"    {marker}")
        if line == "defaults":
            out += [f"    errorfile {status} {path}" for status, path in answers.items()]
    return "\n".join(out) + "\n"


def main(arguments: list[str]) -> None:
    """Rewrite the configuration that the arguments name, and become HAProxy."""
    haproxy, folder, engine_id, *rest = arguments
    path = Path(rest[rest.index("-f") + 1])
    answers = write_answers(Path(folder) / "answers")
    configuration = path.read_text()
    fresh = rewritten(configuration, engine_id, answers)
    if fresh != configuration:
        put(path, fresh)
    os.execv(haproxy, [haproxy, *rest])  # noqa: S606  # Serve's own arguments, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
