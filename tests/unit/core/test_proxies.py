"""Where clients are, behind proxies; ``FUZZ_EXAMPLES=10000`` looks longer."""

from __future__ import annotations

import os
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanic_ws.core.proxies import find_client, parse_network

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
quick = settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)

PROXY, INNER, CLIENT = "10.0.0.1", "10.0.0.2", "198.51.100.7"
TRUSTED = tuple(map(parse_network, ("10.0.0.0/8", "2001:db8:ffff::/48")))


def found(*lines: str, peer: str = PROXY, forwarded: tuple[str, ...] = ()) -> str:
    return find_client(peer, lines, forwarded, TRUSTED)


@pytest.mark.parametrize(
    ("text", "client"),
    [
        (CLIENT, CLIENT),
        (f" {CLIENT} ", CLIENT),
        (f"{CLIENT}:4711", CLIENT),
        (f"1.1.1.1, {CLIENT}", CLIENT),
        (f"garbage, {CLIENT}", CLIENT),
        (f"1.1.1.1,{CLIENT}, {INNER},10.9.9.9", CLIENT),
        (f"{INNER}, 10.9.9.9", INNER),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:3::4]:4711", "2001:db8:1:2::/64"),
        ("1.1.1.1, 2001:db8:1:2::4, 2001:db8:ffff::1", "2001:db8:1:2::/64"),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"{CLIENT}, ::ffff:{INNER}", CLIENT),
    ],
)
def test_client_is_the_first_from_the_right_that_is_no_proxy(text, client):
    assert found(text) == client


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "unknown",
        "_hidden",
        f"{CLIENT},",
        f"{CLIENT}, unknown",
        f"{CLIENT}, unknown, {INNER}",
        f"{CLIENT} {INNER}",
        "1.2.3",
        "1.2.3.256",
        "01.2.3.4",
        "\u0661.2.3.4",
        "1.2.3.4/32",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:123456",
        "[::1",
        "::1]",
        "[::1]x",
        "fe80::1%eth0",
        "[]",
        "127.1",
        "2130706433",
        f'"{CLIENT}"',
        "1" * 10_000,
    ],
)
def test_what_cannot_be_read_makes_it_the_peer(text):
    assert found(text) == PROXY


def test_several_headers_are_one_list():
    assert found(f"1.1.1.1, {CLIENT}", INNER) == CLIENT
    assert found(CLIENT, "unknown") == PROXY


@pytest.mark.parametrize(
    ("text", "client"),
    [
        (f"for={CLIENT}", CLIENT),
        (f'For="{CLIENT}:4711";proto=https;by={INNER}', CLIENT),
        ('for="[2001:db8:1:2::17]:4711"', "2001:db8:1:2::/64"),
        (f"by={INNER} ; for={CLIENT}", CLIENT),
        (f"for=1.1.1.1, for={CLIENT};host=x, for={INNER}", CLIENT),
        (f'for=9.9.9.9;x=", for="{CLIENT}"', CLIENT),
        (f'for="9.9.9.9, for={CLIENT}', CLIENT),
        (f"for={CLIENT}, for=_hidden", PROXY),
        (f"for={CLIENT}, for=unknown", PROXY),
        (f"for={CLIENT}, proto=https", PROXY),
        (f"for={CLIENT};for=1.1.1.1", PROXY),
        (CLIENT, PROXY),
        ("for=", PROXY),
        ("for", PROXY),
    ],
)
def test_header_of_the_standard_is_read_the_same_way(text, client):
    assert found(forwarded=(text,)) == client


def test_two_headers_count_if_they_agree():
    assert found(CLIENT, forwarded=(f"for={CLIENT}",)) == CLIENT
    assert found(CLIENT, forwarded=("for=1.1.1.1",)) == PROXY
    assert found(CLIENT, forwarded=("junk",)) == PROXY


@pytest.mark.parametrize("peer", [CLIENT, "11.0.0.1", "2001:db8:fffe::1"])
def test_others_are_not_believed(peer):
    client = found("1.1.1.1", peer=peer, forwarded=("for=1.1.1.1",))
    assert client == found(peer=peer) != "1.1.1.1"


def test_without_trusted_proxies_nobody_is_believed():
    assert find_client(PROXY, ["1.1.1.1"], [], ()) == PROXY


@pytest.mark.parametrize("peer", [f"::ffff:{PROXY}", "2001:db8:ffff::1"])
def test_proxy_may_come_by_ipv6(peer):
    assert found(CLIENT, peer=peer) == CLIENT


def test_address_of_version_six_counts_by_its_network():
    assert found(peer="2001:db8:1:2:3:4:5:6") == found(peer="2001:db8:1:2::") == "2001:db8:1:2::/64"
    assert found(peer="2001:db8:1:3::") == "2001:db8:1:3::/64"
    assert found(peer="fe80::1%eth0") == "fe80::/64"
    assert found(peer=f"::ffff:{CLIENT}") == CLIENT


def test_peer_without_an_address_is_taken_as_it_is():
    assert found("1.1.1.1", peer="") == ""


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.1.2.3", "::1", "2001:db8::/32", "0.0.0.0/0"])
def test_network_is_read(text):
    assert str(parse_network(text)).startswith(text)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "proxy.example", "*", "10.0.0.0-10.0.0.9"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match=r"must be networks such as 10\.0\.0\.0/8"):
        parse_network(text)


addresses = st.ip_addresses().map(str)
pieces = addresses | st.sampled_from([PROXY, INNER, "for=", '"', ";", ",", "[", "]", ":1", " ", "unknown"])
junk = st.lists(pieces | st.text(max_size=5), max_size=8).map("".join)
lines = st.lists(junk, max_size=3)


@given(st.sampled_from([PROXY, CLIENT, "::1", "2001:db8:ffff::2"]) | addresses | junk, lines, lines)
@quick
def test_whatever_is_sent_somebody_is_counted(peer, forwarded_for, forwarded):
    client = find_client(peer, forwarded_for, forwarded, TRUSTED)
    assert client == peer or ip_address(client.removesuffix("/64"))


@given(junk, addresses.filter(lambda text: not any(ip_address(text) in network for network in TRUSTED)))
@quick
def test_whatever_a_client_sends_its_proxy_s_word_counts(sent, client):
    expected = found(peer=client)
    assert found(f"{sent}, {client}") == expected
    assert found(sent, client) == expected
    named = f'"[{client}]"' if ":" in client else client
    assert found(forwarded=(f"{sent}, for={named}",)) == expected


@given(lines, lines, addresses.filter(lambda text: not any(ip_address(text) in net for net in TRUSTED)))
@quick
def test_whatever_a_client_sends_without_a_proxy_it_is_itself(forwarded_for, forwarded, peer):
    assert find_client(peer, forwarded_for, forwarded, TRUSTED) == find_client(peer, [], [], ())
