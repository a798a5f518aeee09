"""The Services: one that users reach, and a headless one for each role that others call.

Also what those of NATS and of the trial's MongoDB are made by.
"""

from typing import Any

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


def service(workspace: Workspace, name: str, component: str, ports: dict[str, int], **more: Any) -> Object:
    """A Service of a component's pods, with their own ports by name. `more`: the other fields of its spec."""
    found = [{"name": label, "port": port, "targetPort": port, "protocol": "TCP"} for label, port in ports.items()]
    spec = {"selector": selector(workspace, component), "ports": found, **more}
    return make(workspace, "Service", name, component, spec=spec)


def headless(workspace: Workspace, name: str, component: str, ports: dict[str, int]) -> Object:
    """A Service that is nothing but the addresses of a component's pods, ready or not."""
    return service(workspace, name, component, ports, clusterIP="None", publishNotReadyAddresses=True)
