"""A part of Ray that ends while Ray starts ends the start at once: Ray itself waits a minute and more for it."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import os, sys
    from pathlib import Path
    import psutil
    from engine.children import spawn
    from engine.ray_head import dying_with

    def part(seconds):
        return spawn([sys.executable, "-c", f"import time; time.sleep({seconds})"], output=Path(os.devnull))

    with dying_with(frozenset({psutil.Process().name() if sys.argv[1] == "ours" else "other"})):
        kept = part(600)
        try:
            for _ in range(200 if sys.argv[1] == "ours" else 2):
                part(1.0).wait()
        finally:
            kept.kill()
            kept.wait()
    print("started")
"""


@pytest.mark.parametrize(("whose", "code", "told"), [("ours", 1, "Ray ended by itself: "), ("others", 0, "")])
def test_a_part_that_ends_during_the_start_ends_it_and_another_program_does_not(whose, code, told):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), whose], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert ("started" in done.stdout) is (code == 0)
