"""``python -m engine stop``: end what runs."""

from __future__ import annotations

import contextlib
import sys

from contracts.settings import NAMESPACE, settings
from engine.nats_server import NatsServer
from engine.start import stop_engine


def main(arguments: list[str]) -> int:
    """``python -m engine stop``: end the actors on the Ray that runs, and the run directory's nats-server."""
    import ray

    if arguments != ["stop"]:
        print("usage: python -m engine stop", file=sys.stderr)  # noqa: T201
        return 2
    with contextlib.suppress(ConnectionError):
        ray.init(address="auto", namespace=NAMESPACE, log_to_driver=False)
    if ray.is_initialized():
        stop_engine(settings())
    elif settings().nats_url is None:
        NatsServer(settings().run_dir, settings().nats_port).stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
