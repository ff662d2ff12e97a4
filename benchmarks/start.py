"""What a start costs: seconds until HTTP answers for the model and until all is READY, memory at rest, and the end.

Starts the engine as `make run` does, in a temporary run directory, with the sample market or with a file.

    python benchmarks/start.py [--data market.parquet] [--again]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
from latency import ROOT, free_port, live

START_S = 600.0
REST_S = 5.0
"""The tree is measured so long after it is READY and the library, which is warmed behind that, is live."""
MOST_BYTES = 3e9


def answers(url: str) -> bool:
    """Say whether a page is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def tree_of(pid: int) -> list[psutil.Process]:
    """List a process and all below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def memory(pid: int) -> Counter[str]:
    """Sum the proportional set sizes, bytes, by process name; pages of the object store in use are in raylet's."""
    out: Counter[str] = Counter()
    for process in tree_of(pid):
        try:
            out[process.name().split(":")[-1].split(".")[0].strip()] += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return out


def run(folder: Path, data: Path | None) -> bool:
    """Start, measure, end; gives whether the memory is within its bound and nothing was left."""
    port, log = free_port(), folder / "log"
    model = "sample" if data is None else "main"
    variables = {"FACTOR_ENGINE_RUN_DIR": str(folder / "run"), "FACTOR_ENGINE_HTTP_PORT": str(port)}
    variables["FACTOR_ENGINE_NATS_PORT"] = str(free_port())
    command = [sys.executable, "-m", "launch", *(["--data", str(data.resolve())] if data else [])]
    began = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stdout=sink, stderr=sink)
    answered = None
    while "Ready after" not in log.read_text():
        if process.poll() is not None or time.monotonic() - began > START_S:
            raise SystemExit(log.read_text())
        if answered is None and answers(f"http://127.0.0.1:{port}/factor-models/{model}/status"):
            answered = time.monotonic() - began
        time.sleep(0.1)
    ready = time.monotonic() - began
    print("".join(line for line in log.read_text().splitlines(keepends=True) if " ready " in line))
    print(f"HTTP answers for the model after {answered or ready:.1f} s, everything READY after {ready:.1f} s")
    while not live(f"http://127.0.0.1:{port}/health", model):
        if process.poll() is not None or time.monotonic() - began > START_S:
            raise SystemExit(log.read_text())
        time.sleep(0.5)
    print(f"the factor library is live after {time.monotonic() - began:.1f} s")
    time.sleep(REST_S)
    sizes = memory(process.pid)
    total = sum(sizes.values())
    print(f"memory of the whole tree at rest: {total / 1e6:.0f} MB ({total / 2**20:.0f} MiB) PSS; at most 3,000 MB")
    for name, size in sizes.most_common(8):
        print(f"  {name:<24}{size / 2**20:7.0f} MiB")
    tree = tree_of(process.pid)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(30.0)
    left = [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    print(f"SIGTERM: ended in {time.monotonic() - began:.1f} s, {len(left)} processes left\n")
    return total < MOST_BYTES and not left


def main() -> None:
    """Measure a first start, and with ``--again`` a second one in the same run directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="factor-engine-start-") as folder:
        passed = [run(Path(folder), options.data) for _ in range(2 if options.again else 1)]
    raise SystemExit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
