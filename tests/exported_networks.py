"""Networks in files of ONNX that skl2onnx wrote, with what scikit-learn predicts; by a process of the oracles."""

import subprocess
from pathlib import Path

import numpy as np
from oracle_agreement import oracle_python

ROOT = Path(__file__).parents[1]


def exported(folder, *names):
    """Write them, or those that are named, into a folder; give rows, and of each name its file and predictions."""
    python = oracle_python("skl2onnx")
    subprocess.run([python, ROOT / "oracles" / "onnx_networks.py", folder, *names], check=True, timeout=300)
    with np.load(folder / "cases.npz") as data:
        cases = {name: ((folder / f"{name}.onnx").read_bytes(), data[name]) for name in data.files if name != "rows"}
        return data["rows"], cases
