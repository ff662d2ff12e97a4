"""What Ray's processes read from their environment."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from engine import ray_environment

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("theirs", [None, "1000"])
def test_logs_are_bounded_and_an_operators_own_bound_stays(theirs):
    with patch.dict(os.environ):
        os.environ.pop("RAY_ROTATION_MAX_BYTES", None)
        if theirs is not None:
            os.environ["RAY_ROTATION_MAX_BYTES"] = theirs
        ray_environment.prepare()
        assert os.environ["RAY_ROTATION_MAX_BYTES"] == (theirs or str(64 * 2**20))
        assert os.environ["RAY_ROTATION_BACKUP_COUNT"] == "3"


def test_ray_of_kubernetes_which_nothing_of_ours_starts_has_the_same_bounds():
    text = (DEPLOY / "kubernetes/cluster.yaml").read_text()
    for name in ("RAY_ROTATION_MAX_BYTES", "RAY_ROTATION_BACKUP_COUNT"):
        assert f'{{name: {name}, value: "{ray_environment.DEFAULTS[name]}"}}' in text
