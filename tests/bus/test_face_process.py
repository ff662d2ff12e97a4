"""What a process that answers on an event loop sets for itself; in a process of its own, as it sets it for good."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASKED = """
import gc, sys
from bus.face_process import settle
settle()
assert gc.get_freeze_count() > 5_000, gc.get_freeze_count()
collections = gc.get_stats()[0]["collections"]
kept = [[] for _ in range(10_000)]
assert gc.get_stats()[0]["collections"] == collections, "ten thousand objects are no reason to collect"
for _ in range(200_000):
    ring = []
    ring.append(ring)
assert gc.get_stats()[0]["collections"] > collections, "cycles are still collected"
assert gc.get_count()[0] < 50_000
assert sys.getswitchinterval() < 0.001
"""


def test_a_settled_process_collects_seldom_and_hands_over_at_once():
    done = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
