"""What a run sees of the Ray that it joined: it is found out at once when that is not there, or ends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from fixtures_ray import short_folder
from running_engine import until

from engine import haproxy, joined
from engine.errors import StartError
from engine.ports import free_port, holders

ENDS_S = 20.0


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_a_cluster_that_is_not_there_is_told_before_anything_waits_for_it():
    with pytest.raises(StartError, match=r"RAY_ADDRESS: no Ray cluster at 127\.0\.0\.1:\d+: .*refused"):
        joined.require(f"127.0.0.1:{free_port()}")
    with pytest.raises(StartError, match=r"no Ray cluster at 127\.0\.0\.1:99999"):
        joined.require("127.0.0.1:99999")
    with socket.create_server(("127.0.0.1", 0)) as server:
        joined.require(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", ["auto", "ray://10.0.0.1:10001", "local"])
def test_an_address_that_only_ray_understands_is_left_to_it(address):
    joined.require(address)


def test_a_line_holds_while_the_other_end_lives_and_no_longer():
    with short_folder() as folder:
        server = listening(folder / "raylet")
        line = joined.Line(folder / "raylet")
        accepted, _ = server.accept()
        assert line.holds()
        server.close()  # nobody new is let in, and who is in stays
        assert line.holds()
        accepted.close()
        until(lambda: not line.holds(), "the end is seen", ENDS_S)
        line.close()


def test_the_line_goes_to_what_the_start_noted():
    with short_folder() as folder:
        assert joined.Line.to_noted(folder) is None
        with listening(folder / "raylet"):
            joined.note(folder, folder / "raylet")
            line = joined.Line.to_noted(folder)
            assert line is not None
            line.close()
        with pytest.raises(StartError, match="this machine's Ray ended"):
            joined.Line.to_noted(folder)
        joined.note(folder, None)
        assert joined.Line.to_noted(folder) is None


def test_a_port_is_the_proxys_of_a_run_directory_only_where_such_a_proxy_holds_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert [process.name() for process in holders(port)] != []
        assert not haproxy.holds(port, tmp_path)
    assert not haproxy.holds(port, tmp_path)
