"""The NetworkPolicies: nothing is reached by anybody, but for exactly the paths that exist."""

import contextlib
from collections.abc import Iterable
from ipaddress import ip_network
from urllib.parse import urlsplit

from palaver_operator.objects.naming import (
    COMPONENT,
    GRPC_PORT,
    HEALTH_PORT,
    MONGODB_PORT,
    NATS_PORT,
    NATS_ROUTE_PORT,
    PUBLIC_PORT,
    Object,
    make,
    selector,
)
from palaver_operator.resource import Workspace
from palaver_operator.roles import FETCHERS, MAILERS, ROLES, SINGLE, list_callers
from palaver_operator.spec import ObjectStorage

JOBS = ("migrate", "backup")  # work on the database, beside the roles; a restore is a backup's way back
_ANYWHERE: list[Object] = []  # no restriction of who
# Everything but what is somebody's own: clusters and clouds keep what only neighbours may reach there.
_PUBLIC = (
    (
        "0.0.0.0/0",
        ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
    ),
    ("::/0", ["fc00::/7", "fe80::/10"]),
)
_DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
# The settings say at which of them, and may change at any time: those at which SMTP servers are.
_SMTP_PORTS = (25, 465, 587, 2525)
_DEFAULT_PORTS = {"mongodb": MONGODB_PORT, "nats": NATS_PORT, "tls": NATS_PORT, "http": 80, "ws": 80}


def list_ports(url: str) -> tuple[int, ...]:
    """The ports in the address of a server, or of several with commas between; empty when they can't be known (SRV)."""
    scheme, _, rest = url.partition("://")
    if scheme == "mongodb+srv":
        return ()
    found = set()
    for host in rest.partition("/")[0].rpartition("@")[2].split(",") if scheme == "mongodb" else url.split(","):
        parts = urlsplit(host if "://" in host else f"//{host}")
        found.add(parts.port or _DEFAULT_PORTS.get(parts.scheme or scheme, 443))
    return tuple(sorted(found))


def build_policies(
    workspace: Workspace, *, mongodb_ports: tuple[int, ...], nats_ports: tuple[int, ...], operator_namespace: str
) -> list[Object]:
    """`mongodb_ports`, `nats_ports`: of servers outside; empty: any. `operator_namespace`: empty when there is none."""
    watching = _watching(workspace, operator_namespace)
    storage = _storage(workspace.spec.object_storage)
    found = [_policy(workspace, "default", None, [], [])]
    if workspace.is_single:
        users = _rule(_ANYWHERE, PUBLIC_PORT)
        fetching = _fetching(workspace, SINGLE.name)
        outgoing = [_DNS, *fetching, *_mailing(workspace, SINGLE.name), *storage, *_restoring(workspace)]
        found.append(_policy(workspace, SINGLE.name, SINGLE.name, [users, *watching], outgoing))
        return [*found, _policy(workspace, "backup", "backup", [], [_DNS, *storage])]
    mongodb = _to(workspace, ["mongodb"] if workspace.trial_mongodb else None, mongodb_ports or (), MONGODB_PORT)
    nats = _to(workspace, ["nats"] if workspace.managed_nats else None, nats_ports or (), NATS_PORT)
    for role in ROLES.values():
        incoming = list(watching)
        if callers := list_callers(role.name):
            incoming.append(_rule(_pods(workspace, callers), GRPC_PORT))
        if role.name == "gateway":
            incoming.append(_rule(_ANYWHERE, PUBLIC_PORT))
        outgoing = [_DNS, *_fetching(workspace, role.name), *_mailing(workspace, role.name), mongodb, nats, *storage]
        if role.calls:
            outgoing.append(_rule(_pods(workspace, role.calls), GRPC_PORT, side="to"))
        found.append(_policy(workspace, role.name, role.name, incoming, outgoing))
    for job in JOBS:
        to_storage = [*storage, *_restoring(workspace)] if job == "backup" else storage
        found.append(_policy(workspace, job, job, [], [_DNS, mongodb, *to_storage]))
    if workspace.trial_mongodb:
        clients = _rule(_pods(workspace, [*ROLES, *JOBS]), MONGODB_PORT)
        found.append(_policy(workspace, "mongodb", "mongodb", [clients], []))
    if workspace.managed_nats:
        others = _pods(workspace, ["nats"])
        incoming = [_rule(_pods(workspace, ROLES), NATS_PORT), _rule(others, NATS_ROUTE_PORT)]
        found.append(_policy(workspace, "nats", "nats", incoming, [_DNS, _rule(others, NATS_ROUTE_PORT, side="to")]))
    return found


def _watching(workspace: Workspace, operator_namespace: str) -> list[Object]:
    """Who reads metrics: the operator, and Prometheus if it is to."""
    who: list[Object] = []
    if operator_namespace:
        who.append(
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "palaver-operator"}},
            }
        )
    if workspace.spec.monitoring.service_monitor:
        who.append({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}})
    return [_rule(who, HEALTH_PORT)] if who else []


def _fetching(workspace: Workspace, role: str) -> list[Object]:
    """The way to addresses that users gave; a name that is allowed can't be said here, only what it stands for."""
    outbound = workspace.spec.outbound
    if role not in FETCHERS or not outbound.enabled:
        return []
    blocks: list[Object] = [{"cidr": cidr, "except": others} for cidr, others in _PUBLIC]
    for text in outbound.allowed:
        with contextlib.suppress(ValueError):
            blocks.append({"cidr": str(ip_network(text, strict=False))})
    return [{"to": [{"ipBlock": block} for block in blocks], "ports": [{"protocol": "TCP"}]}]


def _mailing(workspace: Workspace, role: str) -> list[Object]:
    """The way to the SMTP server, wherever that is: only the workspace's settings name it."""
    if role not in MAILERS:
        return []
    said = str(workspace.spec.settings.get("SMTP_Port", "")).strip()
    own = int(said) if said.isdecimal() else 0
    return [_rule(_ANYWHERE, *sorted({*_SMTP_PORTS, *([own] if 0 < own < 65536 else [])}), side="to")]


def _storage(storage: ObjectStorage | None) -> list[Object]:
    return [] if storage is None else [_rule(_ANYWHERE, *list_ports(storage.endpoint), side="to")]


def _restoring(workspace: Workspace) -> list[Object]:
    """The way to the archive that the workspace is made of. Each backup has a way of its own: backup.py."""
    restore = workspace.spec.restore
    return _storage(restore.source.object_storage) if restore is not None else []


def _to(workspace: Workspace, pods: list[str] | None, outside: tuple[int, ...], inside: int) -> Object:
    """The way to a server: to pods of the workspace, or to ports of whatever address."""
    if pods is not None:
        return _rule(_pods(workspace, pods), inside, side="to")
    return _rule(_ANYWHERE, *outside, side="to")


def _pods(workspace: Workspace, components: Iterable[str]) -> list[Object]:
    matches = {
        "matchLabels": selector(workspace),
        "matchExpressions": [{"key": COMPONENT, "operator": "In", "values": sorted(components)}],
    }
    return [{"podSelector": matches}]


def _rule(who: list[Object], *ports: int, side: str = "from") -> Object:
    rule: Object = {side: who} if who else {}
    return rule | ({"ports": [{"port": port, "protocol": "TCP"} for port in ports]} if ports else {})


def _policy(
    workspace: Workspace, name: str, component: str | None, incoming: list[Object], outgoing: list[Object]
) -> Object:
    return make(
        workspace,
        "NetworkPolicy",
        f"{workspace.name}-{name}",
        component or "workspace",
        api="networking.k8s.io/v1",
        spec={
            "podSelector": {"matchLabels": selector(workspace, component)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": incoming,
            "egress": outgoing,
        },
    )
