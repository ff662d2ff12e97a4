"""Fixtures that the whole suite shares, each kind in a module of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the fixture modules, and the workloads that tests run inside Ray actors

pytest_plugins = [name for name in ("fixtures_ray", "fixtures_nats") if importlib.util.find_spec(name)]
