"""Fixtures that the whole suite shares, each kind in a module of its own."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the fixture modules, and the workloads that tests run inside Ray actors

# Ray reads how it authenticates when it is imported, so this comes before any fixture. The token is this run's own, and
# nothing is written to the home directory.
_secrets = Path(tempfile.mkdtemp(prefix="factor-engine-tests-"))
atexit.register(shutil.rmtree, _secrets, ignore_errors=True)
(_secrets / "token").touch(mode=0o600)
(_secrets / "token").write_text(secrets.token_hex(32))
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_secrets / "token")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
    os.environ.pop(name, None)

pytest_plugins = ["fixtures_ray", "fixtures_nats", "fixtures_library", "fixtures_toraniko"]
