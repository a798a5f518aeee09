"""Where a client really is, behind the proxies that the configuration counts. Called by app.py, for every request.

Each proxy appends to X-Forwarded-For who has connected to it. What stands before that came from outside, and anybody
may have written it: so the count decides, and nothing in the header.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], proxies: int) -> str:
    """The address of who asks: the peer's own without proxies, or where a request came by fewer than it should."""
    if proxies < 1:
        return peer
    told = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    addresses = [part.strip() for part in told.decode("latin-1").split(",")]
    if len(addresses) < proxies:
        return peer
    return _parsed(addresses[-proxies]) or peer


def with_client_address(scope: dict[str, Any], proxies: int) -> dict[str, Any]:
    """The ASGI scope of a request, with the client's address in it instead of the last proxy's."""
    if proxies < 1:
        return scope
    peer, port = scope.get("client") or ("", 0)
    return {**scope, "client": (client_address(peer, scope["headers"], proxies), port)}


def _parsed(text: str) -> str | None:
    """An address, which some proxies write with brackets or a port; None for anything else."""
    for candidate in (text, text.partition("]")[0].lstrip("["), text.rpartition(":")[0]):
        try:
            return str(ip_address(candidate))
        except ValueError:
            continue
    return None
