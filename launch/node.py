"""``python -m launch.node --head HOST``: join a Ray cluster as a node that offers the devices it really has.

``python -m launch.node --lead`` makes this machine the head of a new cluster.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.settings import Settings, settings
from engine import cluster, descriptors, kernel_cache, node, ray_environment
from engine.errors import StartError
from engine.run_dir import RunDir


def main(arguments: Sequence[str]) -> None:
    """Become ``ray start``."""
    parser = argparse.ArgumentParser(prog="launch.node", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--head", default=os.environ.get("RAY_HEAD_IP"), help="address of the head; RAY_HEAD_IP")
    parser.add_argument("--lead", action="store_true", help="be the head of a new cluster, and make its token")
    parser.add_argument(
        "--autoscaling", type=Path, help="with --lead: start the nodes too, by what `ray up` wrote there"
    )
    parser.add_argument("--port", type=int, default=node.PORT)
    parser.add_argument("--num-cpus", type=int, default=None)
    parser.add_argument("--block", action="store_true", help="stay in front, for systemd and launchd")
    options = parser.parse_args(arguments)
    if not options.head and not options.lead:
        parser.error("--head or RAY_HEAD_IP must name the head node; --lead makes this one the head")
    if options.autoscaling is not None and not options.lead:
        parser.error("--autoscaling is for --lead: the head starts the nodes")
    # Without it a Mac talks to nobody but itself, and a Linux head would listen on loopback.
    os.environ[ray_environment.LOOPBACK_ONLY] = "1"
    os.environ.pop("RAY_ADDRESS", None)  # of a cluster that is there; this command says itself which one is meant
    try:
        _warm(settings())
        if options.lead:
            command = _lead(options)
        else:
            node.find_token(settings().run_dir, make=False)
            ray_environment.prepare()
            command = node.start_command(options.head, **_offer(options))
    except (StartError, OSError) as error:
        sys.exit(f"cannot start a node: {error}")
    os.execv(command[0], command)  # noqa: S606  # our own argument list, no shell


def _warm(current: Settings) -> None:
    """Compile the kernels that are not compiled yet: an actor that had to would not be ready in time here."""
    kernel_cache.prepare(current.run_dir.resolve())
    done = subprocess.run([sys.executable, "-m", "factors.warm"], check=False)  # our own program
    if done.returncode:
        raise StartError("the numerical kernels cannot be compiled (python -m factors.warm)")


def _lead(options: argparse.Namespace) -> list[str]:
    """Prepare what Serve and the engine's actors on the head read from their environment, which is the head's."""
    current = settings()
    node.find_token(current.run_dir, make=True)
    descriptors.prepare()
    for name, value in node.HEALTH_CHECK.items():
        os.environ.setdefault(name, value)
    # Held until this process becomes another: an engine that runs here would lose its HAProxy's files.
    cluster.prepare_environment(current, RunDir(current.run_dir))
    autoscaling = None
    if options.autoscaling is not None:
        for name, value in node.AUTOSCALING.items():
            os.environ.setdefault(name, value)
        autoscaling = current.run_dir.resolve() / "ray" / "autoscaling.json"
        autoscaling.parent.mkdir(mode=0o700, exist_ok=True)
        node.write_autoscaling(options.autoscaling, autoscaling)
    return node.lead_command(**_offer(options), autoscaling=autoscaling)


def _offer(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "port": options.port,
        "num_cpus": options.num_cpus,
        "object_store_mb": settings().object_store_mb,
        "block": options.block,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
