"""The operator as a process: it dies, there are two, it has few rights."""

import asyncio
import os
import signal

import pytest

from palaver_operator.kinds import list_rules
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    get_palaver,
    palaver,
    patch_spec,
    running_operator,
    until_state,
)

pytestmark = pytest.mark.needs_servers


async def test_an_operator_that_dies_and_an_api_server_that_restarts(plane: ControlPlane, namespace: str) -> None:
    async with running_operator(plane, namespace) as first:
        await plane.apply(palaver(namespace))
        await plane.until(lambda: plane.find("v1", "secrets", namespace, "chat-nats"), 120)
        first.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.process.wait)
    passwords = (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"]
    async with running_operator(plane, namespace):
        await until_state(plane, namespace, "Ready")
        assert (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"] == passwords
        await plane.stop_api_server()
        await plane.start_api_server()
        await plane.kubectl("delete", "service", "chat-gateway", "-n", namespace)
        await plane.until(lambda: plane.find("v1", "services", namespace, "chat-gateway"), 120)
        await until_state(plane, namespace, "Ready")


async def test_of_two_operators_one_works(plane: ControlPlane, namespace: str) -> None:
    options = ("--lease", "palaver-operator", "--lease-seconds", "60")
    os.environ.pop("POD_NAMESPACE", None)
    async with running_operator(plane, namespace, options=options) as first:
        await plane.until(first.leads, 120)
        async with running_operator(plane, namespace, options=options) as second:
            await plane.apply(palaver(namespace))
            await until_state(plane, namespace, "Ready")
            assert not await second.leads()
            first.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.process.wait) == 0
            # It was given back: nobody has to wait for its end.
            lease = await plane.get("coordination.k8s.io/v1", "leases", "default", "palaver-operator")
            holder = lease["spec"].get("holderIdentity") or ""
            assert not holder.endswith(f"-{first.process.pid}"), first.log.read_text()
            await plane.until(second.leads)
            await plane.kubectl("delete", "service", "chat-gateway", "-n", namespace)
            await plane.until(lambda: plane.find("v1", "services", namespace, "chat-gateway"), 120)


async def test_one_namespace_with_no_right_outside_it(plane: ControlPlane, namespace: str) -> None:
    name = "palaver-operator"
    await plane.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
            "rules": list_rules(),
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    )
    account = await plane.service_account(namespace, name)
    options = ("--lease", "palaver-operator", "--lease-seconds", "60")
    async with running_operator(plane, namespace, kubeconfig=account, options=options) as operator:
        await plane.apply(palaver(namespace, version="0.0.9"))
        await until_state(plane, namespace, "Ready")
        await patch_spec(plane, namespace, {"version": "0.1.0", "route": {"kind": "None"}})

        async def runs() -> bool:
            return bool((await get_palaver(plane, namespace))["status"].get("version") == "0.1.0")

        await plane.until(runs, 120)
        assert "forbidden" not in operator.log.read_text()

        # A right that it lacks is told where people look.
        less = [rule for rule in list_rules() if rule["resources"] != ["secrets"]]
        role = {"metadata": {"name": name, "namespace": namespace}, "rules": less}
        await plane.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **role})
        await patch_spec(plane, namespace, {"admin": {"secretName": "mine"}})
        status = await until_state(plane, namespace, "ReconcileFailed")
        assert "forbidden" in next(one["message"] for one in status["conditions"] if one["type"] == "Degraded")
