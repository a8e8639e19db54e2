"""A host that loses its network or power closes no connection; who waits for it learns of it."""

import shutil
import socket
import subprocess
import sys

import pytest

from headwater.distributed import keep_alive

from . import vanishing


def namespaces() -> bool:
    """Whether this machine lets one make network namespaces, and links between them."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    tried = ["unshare", "-rn", "ip", "link", "add", "headwater0", "type", "veth"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespaces(), reason="no network namespaces here")
def test_a_host_that_vanishes_is_named_by_the_others(tmp_path):
    own = [sys.executable, "-m", "tests.distributed.vanishing", "two_hosts", str(tmp_path)]
    done = subprocess.run(["unshare", "-rn", *own], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float((tmp_path / "seconds").read_text()) < vanishing.SECONDS + 10
    told = (tmp_path / "told").read_text()
    assert told.startswith("RankError: rank 1 on ")
    assert "died or can't be reached any more" in told
    assert vanishing.ADDRESSES[1] in told


def test_connections_to_ranks_are_kept_alive_and_no_others_to_the_same_host():
    server = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(server.getsockname())
    far, _ = server.accept()
    another = socket.create_connection(server.getsockname())
    try:
        ends = {near.getsockname(), far.getsockname()}
        assert ends <= keep_alive.own_ends()
        keep_alive.keep_alive({("192.0.2.1", near.getpeername()[1]), ("127.0.0.1", 1)})
        assert not near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        # It is the far end that has to be a rank's.
        keep_alive.keep_alive({near.getsockname()})
        assert not another.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        keep_alive.keep_alive(ends)
        for end in (near, far):
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for name, value in keep_alive._OPTIONS:
                if hasattr(socket, name):
                    assert end.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
    finally:
        for each in (near, far, another, server):
            each.close()


def test_addresses_are_found_in_what_gloo_says():
    said = "[pair.cc:537] Read error [10.77.0.2]:46213: Connection timed out"
    assert keep_alive.addresses_in(said) == {"10.77.0.2"}
    mapped = "Connection closed by peer [::ffff:10.0.0.7]:5"
    assert keep_alive.addresses_in(mapped) == {"10.0.0.7"}
    assert keep_alive.addresses_in("[fe80::1]:29500 and [2001:db8::1]:7") == {
        "fe80::1",
        "2001:db8::1",
    }
    assert keep_alive.addresses_in("rank [1]:29500 of [abc]:7") == frozenset()
    assert keep_alive.addresses_in("Application timeout caused pair closure") == frozenset()
