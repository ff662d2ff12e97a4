"""Writes a picture of each view of a running engine's page: ``make pictures URL=http://127.0.0.1:8300/``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

VIEWS = {
    "overview": ("overview", "Actors"),
    "book": ("book?book=equal&benchmark=market&shock=market:-0.1", "Stress"),
    "market": ("market?factors=market,momentum,value,size", "Factor correlations"),
    "library": ("library?search=alpha101_1&factor=alpha101_101&formula=rank(ts_mean(returns,5))", "How it did"),
    "live": ("live", "Running day"),
    "operations": ("operations", "Latencies"),
}
"""File name: the view's address, and a panel that is waited for."""
SHOTS = (("", "light", 1280), ("-dark", "dark", 1280), ("-phone", "light", 390))
WAIT_MS = 60_000


def main(url: str, folder: Path) -> None:
    """Write the pictures: each view in light, the first two in dark and at a phone's width too."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        sys.exit("there is no chromium here: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, (view, panel) in VIEWS.items():
            for suffix, scheme, width in SHOTS if name in ("overview", "book") else SHOTS[:1]:
                page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
                page.set_default_timeout(WAIT_MS)
                page.goto(f"{url.rstrip('/')}/#/{view}")
                page.get_by_role("region", name=panel, exact=True).first.wait_for()
                page.locator(".loading").first.wait_for(state="detached")
                page.wait_for_load_state("networkidle") if name != "live" else page.wait_for_timeout(3000)
                page.screenshot(path=folder / f"page-{name}{suffix}.png")
                page.close()
                print(folder / f"page-{name}{suffix}.png")  # noqa: T201
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
