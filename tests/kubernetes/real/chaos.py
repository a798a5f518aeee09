"""A workspace in real pods, installed by its chart: while hundreds of clients chat, its gateways become four and two
again, every role rolls to another image, and pods are deleted at random. No message is lost and none is doubled.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from palaver import __version__
from tests.faults.load import running_load
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.real.images import PALAVER_AGAIN
from tests.kubernetes.real.servers import NATS_PORT, nats
from tests.kubernetes.real.workspace import NAME, Workspace, installed, is_ready, judge

CLIENTS = 300
PAUSE_SECONDS = 60.0
"""Between two messages of one client, on average. The database here has no index on several fields: whoever comes back
has it read every message, so that more of them make this machine slow and say nothing of Palaver."""
RETURN_SECONDS = 10.0
"""Within so much of the end of its socket every client has everything again."""


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


async def test_no_message_is_lost_while_everything_moves(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(2), "big")
    print(f"seed {seed}")
    draw = Random(seed)
    address = {"url": f"nats://nats.{namespace}:{NATS_PORT}"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nats", "namespace": namespace}}
    await plane.apply(secret | {"stringData": address}, *nats(namespace))
    await plane.kubectl("rollout", "status", "deployment/nats", "-n", namespace, "--timeout=120s")
    theirs = {"secretName": "nats", "key": "url", "replicas": 1}
    async with installed(plane, namespace, tmp_path, {"nats": theirs}) as workspace:
        urls = await workspace.urls()
        async with running_load(*urls, CLIENTS, seed, NAME) as load:
            for client in load.clients:
                client.pause = PAUSE_SECONDS
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
            assert load.acknowledged() > CLIENTS
            assert load.counts.reconnects > CLIENTS
            assert load.counts.slowest_return <= RETURN_SECONDS
        assert (await workspace.read())["status"]["version"] == __version__


def is_everywhere_new(workspace: Workspace) -> Callable[[Object], Awaitable[bool]]:
    """Whether every pod has the other image."""

    async def is_so(found: Object) -> bool:
        images = {pod["spec"]["containers"][0]["image"] for pod in await workspace.pods()}
        return images == {PALAVER_AGAIN}

    return is_so
