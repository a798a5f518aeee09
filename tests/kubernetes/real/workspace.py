"""A workspace in real pods, installed by its chart over a MongoDB of the test's own: what chaos.py and own_nats.py put
their load on.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from image.root import SOURCE
from tests.e2e.process import ADMIN
from tests.faults.load import Load
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.real.images import REPOSITORY
from tests.kubernetes.real.servers import MONGODB_PORT, mongodb

NAME = "chat"
ROLES = ("auth", "presence", "messaging", "gateway")
AVAILABLE_SECONDS = 60.0
"""With servers that are there and images that the node has."""
KIND = "palaver.chat/v1alpha1"
LIMITED = ("User", "User_By_Method", "Connection", "Connection_By_Method", "IP")
# Enough for 300 clients, and little enough for one small machine to have twice of all while it rolls.
SMALL: Object = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


@dataclass
class Workspace:
    """A Palaver in a namespace."""

    plane: ControlPlane
    namespace: str

    async def read(self) -> Object:
        return await self.plane.get(KIND, "palavers", self.namespace, NAME)

    async def urls(self) -> tuple[str, str]:
        """Where users reach it, and its MongoDB."""
        gateway = await self.plane.get("v1", "services", self.namespace, f"{NAME}-gateway")
        server = await self.plane.get("v1", "services", self.namespace, "mongodb")
        mongodb_url = f"mongodb://{server['spec']['clusterIP']}:{MONGODB_PORT}"
        return f"http://{gateway['spec']['clusterIP']}", mongodb_url

    async def change(self, **spec: Any) -> None:
        """Merges this into its spec."""
        patch = orjson.dumps({"spec": spec}).decode()
        await self.plane.kubectl("patch", "palaver", NAME, "-n", self.namespace, "--type=merge", "-p", patch)

    async def pods(self, component: str = "") -> list[Object]:
        """Its pods that run and are not about to go, of one component or of all roles."""
        labels = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/name=palaver"
        labels += f",app.kubernetes.io/component in ({component or ','.join(ROLES)})"
        found = await self.plane.list_objects("v1", "pods", self.namespace, labels)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def until(self, is_true: Callable[[Object], Awaitable[bool]], what: str, seconds: float) -> float:
        """Waits until the resource has settled on its newest spec and this is true of it. Returns the seconds."""

        async def ask() -> bool:
            found = await self.read()
            status = found.get("status", {})
            conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
            has_settled = conditions.get("Available") == "True" and conditions.get("Progressing") == "False"
            is_new = status.get("observedGeneration") == found["metadata"]["generation"]
            return is_new and has_settled and await is_true(found)

        began = time.monotonic()
        try:
            await self.plane.until(ask, seconds)
        except TimeoutError as error:
            status = (await self.read()).get("status", {})
            raise TimeoutError(f"{what} not after {seconds:.0f} s: {orjson.dumps(status).decode()}") from error
        return time.monotonic() - began

    async def until_gateways(self, count: int) -> float:
        async def is_so(found: Object) -> bool:
            state = found["status"]["roles"]["gateway"]
            return bool(state["desired"] == state["ready"] == count == len(await self.pods("gateway")))

        return await self.until(is_so, f"{count} gateways", 300)


@asynccontextmanager
async def installed(
    plane: ControlPlane,
    namespace: str,
    folder: Path,
    spec: Mapping[str, Any],
    within: float = AVAILABLE_SECONDS,
) -> AsyncIterator[Workspace]:
    """The chart, Available with two gateways in so many seconds. `spec`: what of it differs from what is said here."""
    secrets = {
        "mongodb": {"url": f"mongodb://mongodb.{namespace}:{MONGODB_PORT}"},
        "admin": {
            "username": ADMIN["user"],
            "password": ADMIN["password"],
            "email": "boss@example.org",
            "name": "The Boss",
        },
    }
    made = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data}
        for name, data in secrets.items()
    ]
    await plane.apply(*made, *mongodb(namespace))
    await plane.kubectl("rollout", "status", "deployment/mongodb", "-n", namespace, "--timeout=120s")
    values = {
        "image": {"repository": REPOSITORY, "pullPolicy": "Never"},
        "operator": {"namespaces": [namespace]},
        "workspace": {
            "name": NAME,
            "spec": {
                "hostname": "chat.example.org",
                "route": {"kind": "None"},
                "mongodb": {"secretName": "mongodb", "key": "url"},
                "admin": {"secretName": "admin"},
                "drain": {"seconds": 4, "noticeSeconds": 3},
                "rollout": {"soakSeconds": 15},
                "scaling": {"downStabilizationSeconds": 5},
                # What would be in the way of so many clients of few users.
                "settings": {
                    "API_Enable_Rate_Limiter": False,
                    **{f"DDP_Rate_Limit_{whose}_Enabled": False for whose in LIMITED},
                    "Accounts_TwoFactorAuthentication_Enforce_Password_Fallback": False,
                },
                "roles": {role: {"min": 2, "max": 4, "resources": SMALL} for role in ROLES},
                **spec,
            },
        },
    }
    file = folder / "values.json"
    file.write_bytes(orjson.dumps(values))
    await plane.helm("install", NAME, str(SOURCE / "charts/palaver"), "-n", namespace, "-f", str(file))
    workspace = Workspace(plane, namespace)
    began = time.monotonic()
    await workspace.until_gateways(2)
    seconds = time.monotonic() - began
    print(f"Available {seconds:.1f} s after it was applied, {within:.0f} s are allowed")
    assert seconds <= within
    try:
        yield workspace
    finally:
        await plane.helm("uninstall", NAME, "-n", namespace, "--wait")


def is_ready(pod: Object) -> bool:
    return any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"].get("conditions", ()))


async def judge(load: Load, draw: Random) -> None:
    """What the clients were told, saw and wrote is what the database has."""
    load.end()
    assert await load.recover() == []
    renamed = await load.rename(1, draw)
    quiet = await load.wait_until_quiet()
    print(f"sent {len(load.ledger.sent)}, acknowledged {load.acknowledged()}, {load.summary()}")
    print(f"the rest heard after {quiet:.1f} s")
    assert await load.judge(*renamed) == []
