"""A workspace in real pods, installed by its chart: while hundreds of clients chat, its gateways become four and two
again, every role rolls to another image, and pods are deleted at random. No message is lost and none is doubled.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from image.root import SOURCE
from palaver import __version__
from tests.e2e.process import ADMIN
from tests.faults.load import Load, running_load
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.real.images import PALAVER_AGAIN, REPOSITORY
from tests.kubernetes.real.servers import MONGODB_PORT, NATS_PORT, mongodb, nats

CLIENTS = 300
RETURN_SECONDS = 10.0
"""Within so much of the end of its socket every client has everything again."""
NAME = "chat"
ROLES = ("auth", "presence", "messaging", "gateway")
KIND = "palaver.chat/v1alpha1"
# Enough for 300 clients, and little enough for one small machine to have twice of all while it rolls.
SMALL = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


@dataclass
class Workspace:
    """A Palaver in a namespace."""

    plane: ControlPlane
    namespace: str

    async def read(self) -> Object:
        return await self.plane.get(KIND, "palavers", self.namespace, NAME)

    async def change(self, **spec: Any) -> None:
        """Merges this into its spec."""
        patch = orjson.dumps({"spec": spec}).decode()
        await self.plane.kubectl("patch", "palaver", NAME, "-n", self.namespace, "--type=merge", "-p", patch)

    async def pods(self, role: str = "") -> list[Object]:
        """Its pods that run and are not about to go, of one role or of all."""
        labels = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/name=palaver"
        labels += f",app.kubernetes.io/component in ({role or ','.join(ROLES)})"
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
async def installed(plane: ControlPlane, namespace: str, folder: Path) -> AsyncIterator[Workspace]:
    """The chart, with servers of the test's own around it; Available."""
    secrets = {
        "mongodb": {"url": f"mongodb://mongodb.{namespace}:{MONGODB_PORT}"},
        "nats": {"url": f"nats://nats.{namespace}:{NATS_PORT}"},
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
    await plane.apply(*made, *mongodb(namespace), *nats(namespace))
    for name in ("mongodb", "nats"):
        await plane.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=120s")
    values = {
        "image": {"repository": REPOSITORY, "pullPolicy": "Never"},
        "operator": {"namespaces": [namespace]},
        "workspace": {
            "name": NAME,
            "spec": {
                "hostname": "chat.example.org",
                "route": {"kind": "None"},
                "mongodb": {"secretName": "mongodb", "key": "url"},
                "nats": {"secretName": "nats", "key": "url", "replicas": 1},
                "admin": {"secretName": "admin"},
                "drain": {"seconds": 4, "noticeSeconds": 3},
                "rollout": {"soakSeconds": 15},
                "scaling": {"downStabilizationSeconds": 5},
                # What would be in the way of so many clients of few users.
                "settings": {
                    "API_Enable_Rate_Limiter": False,
                    "Accounts_TwoFactorAuthentication_Enforce_Password_Fallback": False,
                },
                "roles": {role: {"min": 2, "max": 4, "resources": SMALL} for role in ROLES},
            },
        },
    }
    file = folder / "values.json"
    file.write_bytes(orjson.dumps(values))
    await plane.helm("install", NAME, str(SOURCE / "charts/palaver"), "-n", namespace, "-f", str(file))
    workspace = Workspace(plane, namespace)
    began = time.monotonic()
    await workspace.until_gateways(2)
    print(f"Available {time.monotonic() - began:.1f} s after it was applied")
    try:
        yield workspace
    finally:
        await plane.helm("uninstall", NAME, "-n", namespace, "--wait")


async def delete_at_random(workspace: Workspace, draw: Random) -> None:
    """Deletes a pod every few seconds: of any role that has another which is ready, told to stop or killed at once."""
    while True:
        await asyncio.sleep(draw.uniform(4, 10))
        pods = await workspace.pods()
        ready = Counter(role_of(pod) for pod in pods if is_ready(pod))
        chosen = [pod for pod in pods if ready[role_of(pod)] > is_ready(pod)]
        if not chosen:
            continue
        pod = draw.choice(chosen)
        how = draw.choice([[], ["--force", "--grace-period=0"]])
        name = pod["metadata"]["name"]
        print(f"deleting {name} {' '.join(how)}")
        await workspace.plane.kubectl("delete", "pod", name, "-n", workspace.namespace, "--wait=false", *how)


def role_of(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def is_ready(pod: Object) -> bool:
    return any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"].get("conditions", ()))


async def test_no_message_is_lost_while_everything_moves(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(2), "big")
    print(f"seed {seed}")
    draw = Random(seed)
    async with installed(plane, namespace, tmp_path) as workspace:
        gateway = await plane.get("v1", "services", namespace, f"{NAME}-gateway")
        server = await plane.get("v1", "services", namespace, "mongodb")
        url = f"http://{gateway['spec']['clusterIP']}"
        mongodb_url = f"mongodb://{server['spec']['clusterIP']}:{MONGODB_PORT}"
        async with running_load(url, mongodb_url, CLIENTS, seed, NAME) as load:
            load.begin(draw)
            deleting = asyncio.create_task(delete_at_random(workspace, draw))
            try:
                await workspace.change(roles={"gateway": {"min": 4}})
                print(f"four gateways after {await workspace.until_gateways(4):.1f} s")
                await workspace.change(roles={"gateway": {"min": 2}})
                print(f"two gateways after {await workspace.until_gateways(2):.1f} s")
                await workspace.change(image={"tag": PALAVER_AGAIN.rpartition(":")[2]})
                print(f"rolled after {await workspace.until(is_everywhere_new(workspace), 'rolled', 600):.1f} s")
            finally:
                deleting.cancel()
                await asyncio.wait([deleting])
            assert deleting.cancelled(), "somebody was there to be deleted, all the time"
            await judge(load, draw)
        assert (await workspace.read())["status"]["version"] == __version__


def is_everywhere_new(workspace: Workspace) -> Callable[[Object], Awaitable[bool]]:
    """Whether every pod has the other image."""

    async def is_so(found: Object) -> bool:
        images = {pod["spec"]["containers"][0]["image"] for pod in await workspace.pods()}
        return images == {PALAVER_AGAIN}

    return is_so


async def judge(load: Load, draw: Random) -> None:
    """What the clients were told, saw and wrote is what the database has, and nobody was away for long."""
    load.end()
    assert await load.recover() == []
    renamed = await load.rename(1, draw)
    quiet = await load.wait_until_quiet()
    print(f"sent {len(load.ledger.sent)}, acknowledged {load.acknowledged()}, {load.summary()}")
    print(f"the rest heard after {quiet:.1f} s")
    assert await load.judge(*renamed) == []
    assert load.acknowledged() > CLIENTS
    assert load.counts.reconnects > CLIENTS
    assert load.counts.slowest_return <= RETURN_SECONDS
