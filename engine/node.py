"""``python -m launch.node --head HOST``: join a Ray cluster as a node that offers the devices it really has.

`ray up` gives every local node the same commands, so the node itself has to look what it is: this looks, and becomes
``ray start`` with the custom resources `neural_engine` and `metal_gpu` where they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.work import Device
from devices.detect import detect


def device_resources() -> dict[str, float]:
    """Give the custom resources of this machine: 1 for each device besides the CPU that is there."""
    return {device.value: 1.0 for device, found in detect().items() if found.available and device is not Device.CPU}


def start_command(head: str, port: int, num_cpus: int | None = None, *, block: bool = False) -> list[str]:
    """Give the command that joins the cluster.

    Parameters
    ----------
    head
        Address of the head node.
    port
        Its control store's port.
    num_cpus
        CPUs to offer; default: all.
    block
        Stay in front until the node ends, as systemd and launchd want it.
    """
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        f"--address={head}:{port}",
        f"--resources={json.dumps(device_resources())}",
        f"--labels=factor-engine/os={platform.system().lower()},factor-engine/machine={platform.machine()}",
        # Ray would offer an Apple GPU as GPU as well, and two owners would book the one device twice.
        *(["--num-gpus=0"] if sys.platform == "darwin" else []),
        *([f"--num-cpus={num_cpus}"] if num_cpus is not None else []),
        *(["--block"] if block else []),
        "--disable-usage-stats",
    ]


def main(arguments: Sequence[str]) -> None:
    """Become ``ray start``."""
    parser = argparse.ArgumentParser(prog="launch.node", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--head", default=os.environ.get("RAY_HEAD_IP"), help="address of the head; RAY_HEAD_IP")
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("--num-cpus", type=int, default=None)
    parser.add_argument("--block", action="store_true", help="stay in front, for systemd and launchd")
    options = parser.parse_args(arguments)
    if not options.head:
        parser.error("--head or RAY_HEAD_IP must name the head node")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if sys.platform == "darwin":
        # Without it a Mac talks to nobody but itself.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    command = start_command(options.head, options.port, options.num_cpus, block=options.block)
    os.execv(command[0], command)  # noqa: S606  # our own argument list, no shell
