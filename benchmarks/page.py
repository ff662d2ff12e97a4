"""How fast the page is, in a real Chromium on an engine of its own: first view, bytes, risk view, live view.

A bare static page (one file, one line of script) is opened in the same rounds: it is the floor under the first view.
What is measured in the browser is from the click, or from the navigation's start, to the frame after the one that has
the picture.

    python benchmarks/page.py [--data FILE] [--rounds 9] [--live-s 60] [--url URL] [--hold N]

`--hold N` measures nothing: it keeps N pages of a running engine open until its standard input closes, for latency.py.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import itertools
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import latency
import psutil
from latency import MODEL, ROOT, running_engine

REAL = ROOT.parent / "shared" / "data" / "sp500_2014_2018.parquet"
NAMES, DAYS = 504, 756
FIRST_VIEW_MS, FIRST_VIEW_BYTES, RISK_MS = 1000.0, 150_000, 100.0
LIVE_CORE, LIVE_GROWTH = 0.10, 1.10
RATE_MS, TICKS_PER_S = 100, 200.0
"""Of the live view's watch: ten values a second; and what moves it."""
SETTLE_S = 70.0
"""The live view keeps its last 600 values: its memory grows until it has them."""
TOLD_MS = 400_000
HEAP_READINGS = 8
WAIT_MS = 120_000
HELD = ("overview", "book?book=equal&benchmark=market", "market", "library?factor=alpha101_101", "live", "operations")
"""The views that ten pages show, one after the other."""

# Runs before the page's own scripts: when the last click was, and when the answer to it was there.
SCRIPT = """
window.answered = 0;
const asked = window.fetch;
window.fetch = async (...given) => {
  const answer = await asked(...given);
  if (!String(given[0]).includes('portfolio-risk/calculate')) return answer;
  const text = answer.text.bind(answer);
  answer.text = async () => { const got = await text(); window.answered = performance.now(); return got; };
  return answer;
};
const begin = () => { window.began = performance.now(); window.answered = 0; };
for (const kind of ['click', 'change']) addEventListener(kind, begin, true);
"""
# Waits until something holds, looking at each frame, and for the frame after; gives when that was. The page's policy
# forbids to read a text as a script in the page, so the whole comes by the driver.
SEEN = """() => new Promise((done) => {
  const next = requestAnimationFrame;
  const look = () => next((HOLDS) ? () => next(() => done(performance.now())) : look);
  look();
})"""
OVERVIEW = "['Actors', 'Models'].every((name) => document.querySelector(`[aria-label=${name}] tbody tr`))"
# The answer came after the click, and its three pictures stand: figures, sources, names.
RISK = """window.answered > window.began && document.querySelector('[aria-label=Risk] dl.figures')
  && document.querySelector('[aria-label^="Sources of"] svg g')
  && document.querySelector('[aria-label="Risk by name"] svg g')"""
MESSAGE = """[...document.querySelectorAll('[aria-label=Connection] dl.figures div')]
  .find((row) => row.textContent.startsWith('Message')).lastChild.textContent"""
FLOOR = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>floor</title><p id="at">waiting</p>
<script>document.getElementById('at').textContent = 'there';</script></html>"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run Debian's chromium, driven by Playwright."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise SystemExit("there is no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextlib.contextmanager
def floor() -> Iterator[str]:
    """Serve the bare page; gives its address."""

    class Bare(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class wants the name
            with contextlib.suppress(BrokenPipeError):  # the tab is closed while it asks for an icon
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(FLOOR)))
                self.end_headers()
                self.wfile.write(FLOOR)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bare)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def loaded(page: Any) -> None:
    """Wait until nothing of the view is being loaded."""
    page.evaluate(SEEN.replace("HOLDS", "!document.querySelector('.loading')"))


def first_view(browser: Any, url: str, holds: str) -> tuple[float, int, int]:
    """Open an address in a browser that has nothing of it; gives ms until it is seen, bytes and answers by then."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(SCRIPT)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    sizes: list[int] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    page.goto(url, wait_until="commit")
    took = page.evaluate(SEEN.replace("HOLDS", holds))
    by_then = sum(sizes), len(sizes)
    context.close()
    return took, *by_then


def risk_view(browser: Any, url: str, symbols: list[str], rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Choose one book after the other; gives ms of each, from click to picture, ms until the answer, and the first."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(SCRIPT)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}#/book")
    choice = page.locator("label.field", has_text="Book").locator("select").first
    choice.wait_for()
    total, answer = [], []

    def seen() -> None:
        took = page.evaluate(SEEN.replace("HOLDS", RISK))
        began, answered = page.evaluate("[window.began, window.answered]")
        total.append(took - began)
        answer.append(answered - began)
        loaded(page)  # what the view asks later is not of this click

    for book in itertools.islice(itertools.cycle(("equal", "market")), rounds + 1):
        choice.select_option(book)
        seen()
    page.get_by_text("Paste weights, or drop a CSV", exact=True).click()
    for turn in range(rounds):
        text = "\n".join(f"{name},{(1 + turn / 100) / len(symbols):.8f}" for name in symbols)
        page.locator("#weights").fill(text)
        page.get_by_role("button", name=f"Use {len(symbols)} names").click()
        seen()
    context.close()
    return total[1:], answer[1:], total[:1]


def live_view(browser: Any, url: str, watch: str, seconds: float) -> dict[str, Any]:
    """Look at a watch; gives its shares of a core, and the memory at times, after what is garbage went."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}#/live?watch={watch}")
    page.locator("[aria-label='Connection'] dl.figures").wait_for()
    # Returns are withheld until half of the market was seen: before it there is no picture of them.
    page.locator("[aria-label='As they moved'] canvas").wait_for(timeout=TOLD_MS)
    wire = context.new_cdp_session(page)
    wire.send("Performance.enable")

    def metrics() -> dict[str, float]:
        wire.send("HeapProfiler.collectGarbage")
        return {row["name"]: row["value"] for row in wire.send("Performance.getMetrics")["metrics"]}

    def now() -> dict[str, float]:
        # A message that is being read is a megabyte that is not kept: the least of some readings is what is held.
        readings = [metrics() for _ in range(HEAP_READINGS)]
        told, heap = readings[-1], min(one["JSHeapUsedSize"] for one in readings)
        return {
            "at": time.monotonic(), "task_s": told["TaskDuration"], "script_s": told["ScriptDuration"],
            "heap": heap, "nodes": told["Nodes"], "processes_s": renderers_s(),
            "message": float(page.evaluate(MESSAGE).replace(",", "")),
        }  # fmt: skip

    time.sleep(SETTLE_S)
    states = [now()]
    while time.monotonic() - states[0]["at"] < seconds:
        time.sleep(seconds / 4)
        states.append(now())
    context.close()
    first, last = states[0], states[-1]
    span = last["at"] - first["at"]
    return {
        "per_s": (last["message"] - first["message"]) / span,
        "main": (last["task_s"] - first["task_s"]) / span,
        "script": (last["script_s"] - first["script_s"]) / span,
        "process": (last["processes_s"] - first["processes_s"]) / span,
        "heap": [state["heap"] for state in states],
        "nodes": [state["nodes"] for state in states],
        "seconds": span,
    }


def renderers_s() -> float:
    """Sum the CPU seconds of this process's browsers that draw pages."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "--type=renderer" in process.cmdline():
                used = process.cpu_times()
                total += used.user + used.system
    return total


def ask(method: str, url: str, body: Any = None) -> Any:
    """Ask the engine."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120.0) as response:
        return json.load(response)


def market_of(folder: Path, given: Path | None) -> tuple[Path, str]:
    """Take the file that is given, or the real one where it is, or write a sample of as many names."""
    path = given or (REAL if REAL.exists() else None)
    if path is not None:
        return path, path.name
    from factors.sample.market import sample_market

    path = folder / "market.parquet"
    sample_market(NAMES, DAYS).panel.to_frame().write_parquet(path)
    return path, f"a sample of {NAMES} names and {DAYS} days"


def told(name: str, figure: str, aim: str, met: bool) -> bool:
    """Print a figure beside its aim."""
    print(f"{name:44}{figure:>34}   aim {aim}: {'met' if met else 'MISSED'}", flush=True)
    return met


def middle(values: list[float]) -> str:
    """Write median and largest."""
    return f"median {statistics.median(values):.0f}, worst {max(values):.0f} ms"


def measure(browser: Any, engine: dict[str, Any], bare: str, options: argparse.Namespace) -> list[bool]:
    """Measure everything on a running engine; gives which aims are met."""
    url = f"{engine['http'].rstrip('/')}/"
    model = ask("GET", f"{url}api/v1/factor-engine/status")["default_model"]
    met = []
    rounds = [
        (first_view(browser, f"{url}#/overview", OVERVIEW), first_view(browser, bare, "document.getElementById('at')"))
        for _ in range(options.rounds + 1)
    ][1:]
    times, floors = [one[0] for one, _ in rounds], [one[0] for _, one in rounds]
    print(f"{'a bare static page':44}{middle(floors):>34}   the floor")
    in_time = statistics.median(times) < FIRST_VIEW_MS
    met.append(told("first view, the overview", middle(times), f"{FIRST_VIEW_MS:.0f} ms", in_time))
    size, n = max(one[1:] for one, _ in rounds)
    said = f"{size:,} in {n} answers"
    met.append(told("bytes of it over the wire", said, f"{FIRST_VIEW_BYTES:,}", size < FIRST_VIEW_BYTES))
    features = ask("POST", f"{url}style-factors/calculate", {"model_id": model})["calculation_result"]["factor_values"]
    symbols = [name for name, value in next(iter(features.values())).items() if value is not None]
    total, answer, first = risk_view(browser, url, symbols, options.rounds)
    print(f"{'the first book that is looked at':44}{first[0]:>31.0f} ms")
    half = options.rounds
    for what, part in (("by name", slice(None, half)), (f"pasted, {len(symbols)} names", slice(half, None))):
        print(f"{'  until the engine answered':44}{middle(answer[part]):>34}")
        met.append(told(f"risk view, click to picture, {what}", middle(total[part]), f"{RISK_MS:.0f} ms",
                        statistics.median(total[part]) < RISK_MS))  # fmt: skip
    return met


def measure_live(browser: Any, engine: dict[str, Any], seconds: float) -> list[bool]:
    """Measure the live view, with ticks that move a watch of factor returns, styles and books ten times a second."""
    url = f"{engine['http'].rstrip('/')}/"
    wish = {"model_id": MODEL, "factor_returns": True, "styles": ["*"], "portfolios": ["market", "equal"]}
    with latency.ticking(engine, TICKS_PER_S, {**wish, "rate_ms": RATE_MS}):
        seen = live_view(browser, url, "load", seconds)
    heap = ", ".join(f"{size / 1e6:.1f}" for size in seen["heap"])
    print(f"live view, {seen['seconds']:.0f} s, {seen['per_s']:.1f} values a second; heap MB {heap}")
    print(f"  nodes of the document: {', '.join(f'{n:.0f}' for n in seen['nodes'])}")
    print(f"  of a core: main thread {100 * seen['main']:.1f} %, of it scripts {100 * seen['script']:.1f} %")
    growth, share = seen["heap"][-1] / seen["heap"][0], seen["process"]
    return [
        told("live view, its process, of a core", f"{share:.1%}", f"{LIVE_CORE:.0%}", share < LIVE_CORE),
        told("live view, memory last over first", f"{growth:.3f}", f"{LIVE_GROWTH:.2f}", growth < LIVE_GROWTH),
    ]


def hold(url: str, n: int) -> None:
    """Keep pages open until standard input closes; says `open` when they are."""
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        for view in itertools.islice(itertools.cycle(HELD), n):
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.goto(f"{url.rstrip('/')}/#/{view}")
            page.locator("main h2").wait_for()
            loaded(page)
        print("open", flush=True)
        while sys.stdin.readline():
            print(json.dumps({"renderers_s": renderers_s()}), flush=True)


def main() -> int:
    """Run everything; the exit code is 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the market; default: the real file beside the project, or a sample")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--live-s", type=float, default=60.0, help="how long the live view is looked at; 0: not at all")
    parser.add_argument("--hold", type=int, default=0, help="keep so many pages open and measure nothing")
    parser.add_argument("--url", help="of a running engine: none is started, and the live view is not looked at")
    options = parser.parse_args()
    if options.hold:
        hold(options.url, options.hold)
        return 0
    machine = f"{platform.platform()}, {os.cpu_count()} CPUs"
    print(f"{machine}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    if options.url:
        with chromium() as browser, floor() as bare:
            return 0 if all(measure(browser, {"http": options.url}, bare, options)) else 1
    with tempfile.TemporaryDirectory(prefix="factor-engine-bench-") as name:
        market, said = market_of(Path(name), options.data)
        with running_engine(Path(name), market) as engine, chromium() as browser, floor() as bare:
            print(f"{said}; {browser.browser_type.name} {browser.version}")
            met = measure(browser, engine, bare, options)
            if options.live_s:
                met += measure_live(browser, engine, options.live_s)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
