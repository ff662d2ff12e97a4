"""benchmarks/recompute.py holds its times against the gates, and tells what the machine loses from what splitting does.

Only invented times here: what the benchmark measures is in docs/measured.md.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from recompute import LONG_S, Took, judge


def test_a_machine_whose_cores_disturb_each_other_is_told_apart_from_the_splitting():
    lines = "\n".join(judge(Took(100.0, 98.0), Took(62.5, 120.0), Took(125.0, 245.0), 2))
    assert "two processes are 1.60 x one; gate 1.7: missed" in lines
    assert "1.25 x the work of one process divided by 2 cores; gate 1.3: met" in lines
    assert "the machine does 1.60 x one core's work, the splitting 1.60 x: 100% of it" in lines
    assert "1.25 x one for each" in lines


def test_what_the_splitting_loses_shows_against_copies_that_lose_nothing():
    lines = "\n".join(judge(Took(100.0, 98.0), Took(80.0, 150.0), Took(100.0, 196.0), 2))
    assert "the machine does 2.00 x one core's work, the splitting 1.25 x: 62% of it" in lines
    assert "gate 1.3: missed" in lines


def test_a_short_job_has_no_gate_of_its_speedup():
    short = LONG_S / 2
    assert len(judge(Took(short, short), Took(short, short), Took(short, short), 2)) == 4
