"""Where a client is, behind proxies that are trusted to say so."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Address = IPv4Address | IPv6Address

Network = IPv4Network | IPv6Network

_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)")
_SITE_BITS = 64
"""Of an IPv6 address that tell one site from another (RFC 6177); the rest a client chooses as it likes."""


def parse_network(text: str) -> Network:
    """Read a network as ``10.0.0.0/8``, or one address.

    Raises:
        ValueError: it is none.
    """
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8") from None


def find_client(
    peer: str, forwarded_for: Sequence[str], forwarded: Sequence[str], trusted: Sequence[Network]
) -> str:
    """Return the address by which a client is counted: of IPv6, its network of 64 bits.

    Args:
        peer: whose connection it is.
        forwarded_for: the request's ``X-Forwarded-For`` headers.
        forwarded: its ``Forwarded`` headers (RFC 7239).
        trusted: proxies, which are believed. From the right, the first address that is not one of theirs is
            the client; where a header cannot be read so far, or the two disagree, it is the peer.
    """
    if not trusted and ":" not in peer:
        return peer  # nearly always; to parse it takes longer than all the other limits
    address = _parse(peer)
    if address is None:
        return peer
    if _is_in(address, trusted):
        address = _behind(address, forwarded_for, forwarded, trusted)
    if isinstance(address, IPv4Address):
        return str(address)
    host_bits = 128 - _SITE_BITS
    return f"{IPv6Address(int(address) >> host_bits << host_bits)}/{_SITE_BITS}"


def _behind(
    peer: Address, forwarded_for: Sequence[str], forwarded: Sequence[str], trusted: Sequence[Network]
) -> Address:
    headers = ((forwarded_for, _parse_node), (forwarded, _parse_element))
    found = {_walk(peer, lines, parse, trusted) for lines, parse in headers if lines}
    # A client may well send the one that its proxy does not set.
    return found.pop() if len(found) == 1 else peer


def _walk(
    peer: Address, lines: Sequence[str], parse: Callable[[str], Address | None], trusted: Sequence[Network]
) -> Address:
    """Go from proxy to proxy as long as they are trusted; what is left of that anybody may have written."""
    address = peer
    for entry in reversed(",".join(lines).split(",")):
        found = parse(entry)
        if found is None:
            return peer
        address = found
        if not _is_in(address, trusted):
            break
    return address


def _parse_element(text: str) -> Address | None:
    """Read who ``for=`` names in an element of ``Forwarded``."""
    pairs = [pair.partition("=") for pair in text.split(";")]
    named = [value.strip() for name, _, value in pairs if name.strip().lower() == "for"]
    return _parse_node(named[0].removeprefix('"').removesuffix('"')) if len(named) == 1 else None


def _parse_node(text: str) -> Address | None:
    """Read an address, with or without a port."""
    node = _NODE.fullmatch(text.strip())
    return None if node is None else _parse(next(filter(None, node.groups())))


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
