"""What a run says of the cluster it started."""

from __future__ import annotations

import contextlib
import socket

from engine.cluster import JOB_AGENT_PORT, why_no_jobs


def test_a_taken_port_of_rays_job_agent_is_named_with_its_holder():
    with socket.socket() as ours:
        with contextlib.suppress(OSError):  # the agent of an engine that another test runs may have it already
            ours.bind(("127.0.0.1", JOB_AGENT_PORT))
            ours.listen()
        reason = why_no_jobs()
    assert reason is not None
    assert f"port {JOB_AGENT_PORT}" in reason
    assert "(pid " in reason
