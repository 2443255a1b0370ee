import pytest

from raworc.domain.egress import Reach, is_public, reach_of
from raworc.errors import BadRequest

ADDRESSES = {
    True: ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"],
    False: [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
        ),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:1.1.1.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "::127.0.0.1"),
        *("", "localhost", "1.1.1", "0x7f000001"),
    ],
}


@pytest.mark.parametrize("public", ADDRESSES)
def test_only_what_is_on_the_open_internet_is_public(public: bool):
    assert {address: is_public(address) for address in ADDRESSES[public]} == dict.fromkeys(ADDRESSES[public], public)


def test_a_reach_has_what_is_named_and_nothing_else():
    reach = reach_of(" pypi.org, index.lan:8080 ,", ["https://git.lan/base/", "http://other.lan"])
    asked = [("pypi.org", 443), ("pypi.org", 80), ("index.lan", 8080), ("git.lan", 443), ("other.lan", 80)]
    assert all(reach.trusts(*place) for place in asked)
    for place in [
        ("pypi.org", 22),
        ("index.lan", 443),
        ("git.lan", 80),
        ("evilpypi.org", 443),
        ("org", 443),
        ("", 443),
    ]:
        assert not reach.allows(*place), place


def test_what_a_stranger_names_is_allowed_and_not_trusted():
    reach = Reach().and_public("Example.ORG.", 8443)
    assert reach.allows("example.org", 8443)
    assert not reach.trusts("example.org", 8443)
    assert not reach.allows("example.org", 443)
    assert reach.and_public(None, 1) == reach


NO_HOSTS = ["https://pypi.org", "pypi.org/simple", "u@pypi.org", "*.org", "a b", "a:x", "a:70000", "[::1"]


@pytest.mark.parametrize("word", NO_HOSTS)
def test_a_word_that_names_no_host_is_refused_by_name(word: str):
    with pytest.raises(BadRequest, match="RAWORC_BUILD_HOSTS"):
        reach_of(f"pypi.org,{word}")


def test_addresses_are_hosts_too():
    reach = reach_of("10.0.0.5:3141,[::1]:8080,[::1]")
    assert [reach.trusts(*place) for place in [("10.0.0.5", 3141), ("::1", 8080), ("::1", 443)]] == [True] * 3
