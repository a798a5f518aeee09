"""The Services: one that users reach, and a headless one for each role that others call."""

from palaver_operator.objects.naming import GRPC_PORT, PUBLIC_PORT, Object, component_name, grpc_name, make, selector
from palaver_operator.resource import Workspace
from palaver_operator.roles import ROLES, SINGLE, list_callers


def build_services(workspace: Workspace) -> list[Object]:
    found = [_public(workspace)]
    if not workspace.is_single:
        found += [_grpc(workspace, role) for role in ROLES if list_callers(role)]
    return found


def _public(workspace: Workspace) -> Object:
    component = SINGLE.name if workspace.is_single else "gateway"
    return make(
        workspace,
        "Service",
        component_name(workspace, "gateway"),
        "gateway",
        spec={
            "selector": selector(workspace, component),
            "ports": [
                {"name": "http", "port": 80, "targetPort": PUBLIC_PORT, "protocol": "TCP", "appProtocol": "http"}
            ],
        },
    )


def _grpc(workspace: Workspace, role: str) -> Object:
    """All addresses of a role.

    Callers ask each replica's health service themselves, so they may know it before it is ready.
    """
    return headless(workspace, grpc_name(workspace, role), role, {"grpc": GRPC_PORT})


def headless(workspace: Workspace, name: str, component: str, ports: dict[str, int]) -> Object:
    """A Service that is nothing but the addresses of a component's pods, ready or not."""
    return make(
        workspace,
        "Service",
        name,
        component,
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(workspace, component),
            "ports": [
                {"name": label, "port": port, "targetPort": port, "protocol": "TCP"} for label, port in ports.items()
            ],
        },
    )
