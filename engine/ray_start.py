"""``python -m engine.ray_start start --head ...``: the command ``ray``, without Ray's server for ``ray://`` clients.

Nobody comes to us that way. On a busy machine that server gives up before the node is up, and ``ray start --block``
then ends the whole head; no option leaves it out. Ray starts it where it can import gRPC for Python, so that is denied.
"""

from __future__ import annotations

import importlib
from typing import Any


def main() -> None:
    """Become the command ``ray``."""
    scripts: Any = importlib.import_module("ray.scripts.scripts")
    scripts.get_ray_client_dependency_error = lambda: ImportError("no ray:// here")
    scripts.main()


if __name__ == "__main__":
    main()
