"""``python -m launch.http redeploy``: replace the replicas of a running engine's HTTP face by new ones, one by one.

They are of the code that is there now. With ``FACTOR_ENGINE_HTTP_REPLICAS=2`` or more no request fails meanwhile: one
replica answers while another is replaced, and one that ends answers first what it has in work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from contracts.settings import TOKENS, Settings, environment_of, settings
from contracts.tokens import of_environment, to_environment
from engine import cluster, node, ray_environment
from engine.errors import StartError
from engine.run_dir import noted

LOOK_BACK_S, GROWS_AFTER_S, SHRINKS_AFTER_S = 10.0, 5.0, 60.0
"""How Serve's autoscaling looks at the mean of the requests in work. A new replica takes some seconds to be there."""


def application(current: Settings, *, local: bool) -> Any:
    """Give Serve's application as the settings want it.

    Parameters
    ----------
    current
        The settings.
    local
        Whether Ray's processes have these settings in their environment already, as those of a run on one machine do.
    """
    import serve_app

    options = dict(serve_app.ON_HEAD)
    if not local:
        hashed = {TOKENS: os.environ[TOKENS]} if TOKENS in os.environ else {}
        options["runtime_env"] = {"env_vars": {**environment_of(current), **hashed}}
    return serve_app.deployment.options(**replicas(current), ray_actor_options=options).bind()


def replicas(current: Settings) -> dict[str, Any]:
    """Give how many replicas there are: a number, or how it follows the requests that they have in work."""
    least, most = current.http_replicas, current.http_replicas_most
    if most is None or most == least:
        return {"num_replicas": least}
    scaling = {
        "min_replicas": least,
        "initial_replicas": least,
        "max_replicas": most,
        "target_ongoing_requests": current.http_requests_each,
        "look_back_period_s": LOOK_BACK_S,
        "upscale_delay_s": GROWS_AFTER_S,
        "downscale_delay_s": SHRINKS_AFTER_S,
    }
    return {"num_replicas": "auto", "autoscaling_config": scaling}


def redeploy(current: Settings) -> None:
    """Replace the replicas of the engine of this run directory; returns when all new ones take requests.

    Raises
    ------
    StartError
        There is no engine, or its Ray does not answer.
    """
    local = "RAY_ADDRESS" not in os.environ
    address = os.environ.get("RAY_ADDRESS") or noted(current.run_dir).get("ray")
    if address is None:
        raise StartError(f"no engine runs in {current.run_dir.resolve()}")
    if current.tokens is not None:
        os.environ[TOKENS] = to_environment(of_environment(current.tokens.get_secret_value()))
    ray_environment.prepare()
    if local and sys.platform == "linux":
        os.environ.setdefault(ray_environment.LOOPBACK_ONLY, "0")
    node.find_token(current.run_dir, make=False)
    cluster.join(address)
    import serve_app

    cluster.serve_http(application(current, local=local), current, serve_app.NAME)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 1 when it could not be done, and the reason was said."""
    if list(arguments) != ["redeploy"]:
        print("usage: python -m launch.http redeploy", file=sys.stderr)  # noqa: T201
        return 2
    try:
        redeploy(settings())
    except (StartError, RuntimeError) as error:  # Serve's own are RuntimeErrors
        print(f"cannot redeploy: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
