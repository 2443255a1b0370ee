"""Whose word about a request's origin counts."""

import pytest

from raworc.domain.forwarding import Proxies, is_loopback, plain, scheme
from raworc.errors import BadRequest

PROXIES = Proxies.parse("127.0.0.1, 10.0.0.0/8,2001:db8::/32")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::5", True),
        ("127.0.0.2", False),
        ("11.0.0.1", False),
        ("::1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_only_named_addresses_are_trusted(address, trusted):
    assert PROXIES.trust(address) is trusted
    assert not Proxies.parse("").trust(address)


@pytest.mark.parametrize(
    ("told", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # what the client wrote itself stands before
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.0.0.7"], "203.0.113.9"),  # two proxies of ours
        (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (["10.0.0.7"], "10.0.0.7"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:470::9]:4711"], "2001:470::9"),
        (["2001:470::9"], "2001:470::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, unknown"], None),
        (["203.0.113.9, nonsense, 10.0.0.7"], "10.0.0.7"),
        ([""], None),
        (["\xff\xfe"], None),
        ([], None),
        (["203.0.113.9, " + "10.0.0.7," * 9000 + "10.0.0.8"], "10.0.0.7"),  # nobody has so many proxies
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(told, client):
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in told]
    assert PROXIES.client([(b"forwarded", b"for=198.51.100.77"), *headers]) == client


@pytest.mark.parametrize(
    ("told", "expected"), [(b"https", "https"), (b"HTTP", "http"), (b"http, https", "https"), (b"gopher", None)]
)
def test_the_scheme_is_one_of_two(told, expected):
    assert scheme([(b"x-forwarded-proto", told)]) == expected
    assert scheme([]) is None


@pytest.mark.parametrize("text", ["*", "localhost", "10.0.0.0/40", "1.2.3.4;5.6.7.8", "unix:"])
def test_what_is_no_network_is_refused_by_name(text):
    with pytest.raises(BadRequest, match=r"--proxy-headers"):
        Proxies.parse(text)


def test_an_address_has_one_spelling():
    assert plain("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("192.0.2.1")
    assert not is_loopback(None)
