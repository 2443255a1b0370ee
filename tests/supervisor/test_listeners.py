"""Where servers listen: the port, the two private sockets, and what is said when they are taken."""

import socket
from dataclasses import replace

import pytest

from raworc.errors import BadRequest, Conflict
from raworc.settings import Settings
from raworc.supervisor.home import prepare_home
from raworc.supervisor.listeners import open_listeners


@pytest.fixture
def free(home) -> Settings:
    chosen = Settings(home=home, port=0)
    prepare_home(chosen)
    return chosen


def test_the_private_sockets_are_for_our_user_only(free):
    listeners = open_listeners(free)
    try:
        for path in (free.gateway_socket, free.model_socket):
            assert path.stat().st_mode & 0o777 == 0o600
        assert listeners.door.getsockname() == str(free.gateway_socket)
        assert listeners.is_loopback
        assert listeners.address.startswith("http://127.0.0.1:")
    finally:
        listeners.close()


def test_a_taken_port_says_so_and_how_to_choose_another(free):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=rf"Port {port} on '127.0.0.1' is in use: .*'--port'"):
            open_listeners(replace(free, port=port))


def test_an_address_that_is_not_ours_is_refused(free):
    with pytest.raises(BadRequest, match=r"Cannot listen on '192.0.2.1'"):
        open_listeners(replace(free, host="192.0.2.1"))


def test_a_name_that_means_nothing_is_refused(free):
    with pytest.raises(BadRequest, match=r"'no.such.host.invalid' is no address"):
        open_listeners(replace(free, host="no.such.host.invalid"))


def test_a_socket_that_a_dead_server_left_is_replaced(free):
    open_listeners(free).close()
    assert free.gateway_socket.exists()
    open_listeners(free).close()


def test_a_socket_with_a_live_server_behind_it_is_not_taken_away(free):
    first = open_listeners(free)
    try:
        with pytest.raises(Conflict, match=r"gateway.sock"):
            open_listeners(free)
    finally:
        first.close()


@pytest.mark.parametrize(("host", "loopback"), [("0.0.0.0", False), ("localhost", True), ("127.0.0.2", True)])  # noqa: S104  every address is the point
def test_loopback_is_judged_by_the_address_that_is_bound(free, host, loopback):
    listeners = open_listeners(replace(free, host=host))
    try:
        assert listeners.is_loopback is loopback
    finally:
        listeners.close()
