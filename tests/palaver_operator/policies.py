"""What NetworkPolicies let through, by the rules of their API: whether one end may connect to another one's port.

What a network plugin does with them is its own; a node's own traffic to its pods (probes) is always let through.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class End:
    """A pod, or with no namespace an address outside of the cluster. `ports` have names where containers gave some."""

    name: str
    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, str] = field(default_factory=dict)


def is_open(policies: Iterable[Object], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether what goes out of one end is let into the other."""
    found = list(policies)
    return _lets(found, source, target, target, port, protocol, "Egress") and _lets(
        found, target, source, target, port, protocol, "Ingress"
    )


def _lets(
    policies: Sequence[Object], end: End, other: End, listening: End, port: int, protocol: str, direction: str
) -> bool:
    """Whether what is asked of one end lets it speak to the other; nothing is asked of whom no policy selects."""
    specs = [one["spec"] for one in policies if one["metadata"]["namespace"] == end.namespace]
    mine = [spec for spec in specs if direction in spec["policyTypes"] and _matches(spec["podSelector"], end.labels)]
    if not mine:
        return True
    side = "to" if direction == "Egress" else "from"
    return any(
        _has_peer(rule.get(side), other, end.namespace) and _has_port(rule.get("ports"), listening, port, protocol)
        for spec in mine
        for rule in spec.get(direction.lower(), ())
    )


def _has_peer(peers: Sequence[Object] | None, end: End, namespace: str) -> bool:
    return not peers or any(_is_peer(peer, end, namespace) for peer in peers)


def _is_peer(peer: Object, end: End, namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(end.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(other) for other in block.get("except", ())
        )
    if not end.namespace or not _matches(peer.get("podSelector", {}), end.labels):
        return False
    if "namespaceSelector" in peer:
        return _matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace})
    return end.namespace == namespace


def _has_port(ports: Sequence[Object] | None, listening: End, port: int, protocol: str) -> bool:
    def covers(one: Object) -> bool:
        if one.get("protocol", "TCP") != protocol:
            return False
        first: int | str = one.get("port", port)
        if isinstance(first, str):
            return listening.ports.get(port) == first
        last: int = one.get("endPort") or first
        return first <= port <= last

    return not ports or any(covers(one) for one in ports)


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _meets(expression, labels) for expression in selector.get("matchExpressions", ())
    )


def _meets(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", ())
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]
