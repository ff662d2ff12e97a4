"""A machine of a cluster: the devices it offers, the cluster's token on it, and the commands that make it a node.

Every node gets the same command, so it has to look itself what it is: ``python -m launch.node`` looks, and becomes
``ray start`` with the custom resources `neural_engine` and `metal_gpu` where they are.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

from contracts.files import replacing
from contracts.work import Device
from devices.detect import detect
from engine.errors import StartError
from engine.run_dir import made_token, token_of

PORT = 6379
WORKER_PORTS = (10002, 10999)
"""Where the processes of the head listen that other nodes call, so that a firewall can name them."""
HEALTH_CHECK = {"RAY_health_check_period_ms": "2000", "RAY_health_check_timeout_ms": "4000"}
"""Five of these in vain, and a node is given up: after half a minute. By Ray's own numbers it is above a minute, for
which whoever asks an actor there gets no answer. A node whose processes end is missed at once.
"""

AUTOSCALING = {
    "RAY_AUTOSCALER_RECONCILE_TERMINATING_STATUS_TIMEOUT_S": "10",
    "RAY_AUTOSCALER_RECONCILE_REQUEST_STATUS_TIMEOUT_S": "30",
}
"""How long Ray waits for a machine to be given back or to be had; with machines of one's own both are a line in a file.
A lost node's address is given back and asked for in one step, and to Ray it then looks like one that does not go: by
its own numbers it tries that address again after ten minutes.
"""


def device_resources() -> dict[str, float]:
    """Give the custom resources of this machine: 1 for each device besides the CPU that is there."""
    return {device.value: 1.0 for device, found in detect().items() if found.available and device is not Device.CPU}


def lead_command(
    port: int = PORT,
    num_cpus: int | None = None,
    *,
    object_store_mb: int = 512,
    block: bool = False,
    autoscaling: Path | None = None,
) -> list[str]:
    """Give the command that makes this machine the head of a new cluster.

    Parameters
    ----------
    port
        The control store's port.
    num_cpus, object_store_mb, block
        As for `start_command`.
    autoscaling
        The configuration by which the head starts its nodes over ssh; None where nodes join by themselves.
    """
    low, high = WORKER_PORTS
    _, *words = _ray_start(num_cpus, object_store_mb, block=block)
    return [
        sys.executable,
        "-m",
        "engine.ray_start",
        *words,
        "--head",
        f"--port={port}",
        "--dashboard-host=127.0.0.1",
        f"--min-worker-port={low}",
        f"--max-worker-port={high}",
        *([f"--autoscaling-config={autoscaling}"] if autoscaling is not None else []),
    ]


def write_autoscaling(told: Path, out: Path) -> None:
    """Write the configuration by which the head starts its nodes over ssh, from what ``ray up`` told.

    With ``provider: local`` all machines are of one type, and Ray's autoscaler (2.60) counts the head among those of a
    type that are to be up: it would leave one node out. So it is told of one more.

    Parameters
    ----------
    told
        What ``ray up`` wrote on the head: JSON.
    out
        Where it goes.

    Raises
    ------
    StartError
        `told` cannot be read, or is not of ``provider: local``.
    """
    try:
        config = json.loads(told.read_text())
        (kind,) = config["available_node_types"].values()
        kind["min_workers"] += 1
        config["max_workers"] += 1
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StartError(f"{told} is not what ray up writes for machines of one's own: {error!r}") from None
    with replacing(out, private=True) as file:
        file.write(json.dumps(config).encode())


def start_command(
    head: str, port: int = PORT, num_cpus: int | None = None, *, object_store_mb: int = 512, block: bool = False
) -> list[str]:
    """Give the command that joins the cluster.

    Parameters
    ----------
    head
        Address of the head node.
    port
        Its control store's port.
    num_cpus
        CPUs to offer; default: all.
    object_store_mb
        Shared memory for Ray's objects, MB. Ray itself would take a third of the machine's.
    block
        Stay in front until the node ends, as systemd and launchd want it.
    """
    return [*_ray_start(num_cpus, object_store_mb, block=block), f"--address={head}:{port}"]


def _ray_start(num_cpus: int | None, object_store_mb: int, *, block: bool) -> list[str]:
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        f"--resources={json.dumps(device_resources())}",
        f"--labels=factor-engine/os={platform.system().lower()},factor-engine/machine={platform.machine()}",
        # Ray would offer an Apple GPU as GPU as well, and two owners would book the one device twice.
        *(["--num-gpus=0"] if sys.platform == "darwin" else []),
        *([f"--num-cpus={num_cpus}"] if num_cpus is not None else []),
        f"--object-store-memory={object_store_mb * 2**20}",
        *(["--block"] if block else []),
        "--disable-usage-stats",
    ]


def find_token(run_dir: Path, *, make: bool) -> None:
    """Tell Ray where the cluster's token is, unless the environment does already or asks for none.

    Parameters
    ----------
    run_dir
        It has the token in ``ray/token``, as the head's has.
    make
        Make it when there is none: the head does.

    Raises
    ------
    StartError
        There is none, and Ray's own place (``~/.ray/auth_token``) has none either.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    told = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if os.environ["RAY_AUTH_MODE"] != "token" or told:
        return
    path = made_token(run_dir) if make else token_of(run_dir)
    if path.exists():
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
    elif not Path("~/.ray/auth_token").expanduser().exists():
        raise StartError(
            f"the cluster's token is not here: copy ray/token of the head's run directory to {path} (mode 0600)"
        )
