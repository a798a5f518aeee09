"""Which addresses count as one where something is counted by address: blocked logins, limits of calls."""

import functools
from ipaddress import IPv6Address, ip_address

_MAX_KNOWN = 10_000
_SUBNET_BITS = 64
"""What one subscriber has of IPv6, at least: as many addresses as they like."""


@functools.lru_cache(_MAX_KNOWN)
def counted_address(address: str) -> str:
    """What is counted of an address: all of an IPv4 one, the network of an IPv6 one; other text as it is, cut."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    shift = 128 - _SUBNET_BITS
    return f"{IPv6Address(int(parsed) >> shift << shift)}/{_SUBNET_BITS}"
