"""The Ray cluster that all integration tests of a run share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a local Ray with two CPUs and a token of its own; gives the run directory that its actors share."""
    run_dir = tmp_path_factory.mktemp("ray")
    token = run_dir / "token"
    token.write_text(os.urandom(32).hex())
    token.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("FACTOR_ENGINE_RUN_DIR", str(run_dir))
        patch.delenv("RAY_ADDRESS", raising=False)
        import ray

        from contracts.settings import NAMESPACE, settings

        settings.cache_clear()
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            namespace=NAMESPACE,
            object_store_memory=256 * 2**20,
            log_to_driver=False,
            configure_logging=False,
        )
        try:
            yield run_dir
        finally:
            ray.shutdown()
            settings.cache_clear()
