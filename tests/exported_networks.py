"""Networks in files of ONNX that skl2onnx wrote, with what scikit-learn predicts; by a process of the oracles."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")


def exported(folder, *names):
    """Write them, or those that are named, into a folder; give rows, and of each name its file and predictions."""
    if not PYTHON.exists():
        pytest.skip("no .venv-oracles: run `make oracles`")
    installed = "import importlib.util, sys; sys.exit(importlib.util.find_spec('skl2onnx') is None)"
    if subprocess.run([PYTHON, "-c", installed], check=False).returncode:
        pytest.skip("no skl2onnx in .venv-oracles: run `make oracles`")
    subprocess.run([PYTHON, ROOT / "oracles" / "onnx_networks.py", folder, *names], check=True, timeout=300)
    with np.load(folder / "cases.npz") as data:
        cases = {name: ((folder / f"{name}.onnx").read_bytes(), data[name]) for name in data.files if name != "rows"}
        return data["rows"], cases
