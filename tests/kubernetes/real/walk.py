"""What the chart's README tells a new user to do, with nothing else, on a node with real pods: a trial workspace in one
pod with a volume, its first login, a changed setting, a backup to another volume, a workspace made of it, the end.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson

from image.root import SOURCE
from tests import children
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.real.images import REPOSITORY

CHART = SOURCE / "charts/palaver"
IMAGE = ("--set", f"image.repository={REPOSITORY}", "--set", "image.pullPolicy=Never")
AVAILABLE_SECONDS = 60
PASSWORD = "{{.data.username | base64decode}} {{.data.password | base64decode}}"


def volume(namespace: str, claim: str, folder: Path) -> list[Object]:
    """A claim and the folder of the node that it gets: the node makes no volumes by itself."""
    folder.mkdir()
    folder.chmod(0o777)
    size = {"storage": "5Gi"}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    name = f"{namespace}-{claim}"
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {**common, "capacity": size, "hostPath": {"path": str(folder)}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {**common, "volumeName": name, "resources": {"requests": size}},
        },
    ]


@asynccontextmanager
async def forwarded(
    plane: ControlPlane, namespace: str, service: str, folder: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The workspace at a port of one's own machine."""
    command = (plane.programs["kubectl"], "port-forward", f"service/{service}", ":80", "-n", namespace)
    log = folder / "port-forward.log"
    log.unlink(missing_ok=True)
    process = children.start(command, log, environment=plane.environment())
    try:
        async with asyncio.timeout(20):
            while "->" not in (said := log.read_text()):
                assert process.poll() is None, said
                await asyncio.sleep(0.1)
        port = said.partition("127.0.0.1:")[2].partition(" ")[0]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1/", timeout=15) as http:
            yield http
    finally:
        await children.stop(process)


async def log_in(plane: ControlPlane, namespace: str, workspace: str, http: httpx.AsyncClient) -> None:
    """As the administrator whom the operator has made."""
    secret = ("get", "secret", f"{workspace}-admin", "-n", namespace, "--template", PASSWORD)
    user, password = (await plane.kubectl(*secret)).split()
    answer = await http.post("login", json={"user": user, "password": password})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    http.headers.update({"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]})


async def read_general(http: httpx.AsyncClient) -> list[str]:
    found = (await http.get("channels.history", params={"roomName": "general"})).json()
    return [message["msg"] for message in found["messages"]]


def write(folder: Path, values: Mapping[str, object]) -> str:
    file = folder / "values.json"
    file.write_bytes(orjson.dumps(values))
    return str(file)


async def wait(plane: ControlPlane, namespace: str, workspace: str, seconds: int) -> None:
    condition = ("--for=condition=Available", f"--timeout={seconds}s")
    await plane.kubectl("wait", "palaver", workspace, "-n", namespace, *condition)


async def test_the_readme_from_installing_to_uninstalling(plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    for claim in ("data-chat-single-0", "data-chat2-single-0", "backups"):
        await plane.apply(*volume(namespace, claim, tmp_path / claim))
    values = ("-f", str(CHART / "examples/trial.yaml"), "--set", f"operator.namespaces={{{namespace}}}", *IMAGE)
    await plane.helm("install", "chat", str(CHART), "-n", namespace, *values)
    began = time.monotonic()
    await wait(plane, namespace, "chat", AVAILABLE_SECONDS)
    print(f"Available {time.monotonic() - began:.1f} s after it was installed")
    shown = await plane.kubectl("get", "palaver", "-n", namespace)
    assert shown.split()[-2] == "Ready", shown

    async with forwarded(plane, namespace, "chat-gateway", tmp_path) as http:
        await log_in(plane, namespace, "chat", http)
        sent = await http.post("chat.postMessage", json={"channel": "#general", "text": "before the backup"})
        assert sent.json()["success"], sent.text
        upgrade = ("upgrade", "chat", str(CHART), "-n", namespace, *values)
        await plane.helm(*upgrade, "--set", "workspace.spec.settings.Site_Name=Our place")
        await until_named(http, "Our place")

    backup = {
        "apiVersion": "palaver.chat/v1alpha1",
        "kind": "PalaverBackup",
        "metadata": {"name": "before-the-move", "namespace": namespace},
        "spec": {"workspace": "chat", "to": {"volume": {"claimName": "backups"}}},
    }
    await plane.apply(backup)
    complete = ("--for=jsonpath={.status.phase}=Complete", "--timeout=180s")
    await plane.kubectl("wait", "palaverbackup", "before-the-move", "-n", namespace, *complete)

    restored = {
        "operator": {"create": False},
        "image": {"repository": REPOSITORY, "pullPolicy": "Never"},
        "workspace": {
            "spec": {
                "hostname": "chat2.example.org",
                "size": "single",
                "restore": {"from": {"volume": {"claimName": "backups"}}},
            }
        },
    }
    await plane.helm("install", "chat2", str(CHART), "-n", namespace, "-f", write(tmp_path, restored))
    await wait(plane, namespace, "chat2", 180)
    async with forwarded(plane, namespace, "chat2-gateway", tmp_path) as http:
        # The users of the first one, with their passwords.
        await log_in(plane, namespace, "chat", http)
        assert "before the backup" in await read_general(http)

    await plane.helm("uninstall", "chat2", "-n", namespace, "--wait")
    await plane.kubectl("delete", "pod", "chat-single-0", "-n", namespace, "--wait")
    await wait(plane, namespace, "chat", AVAILABLE_SECONDS)
    async with forwarded(plane, namespace, "chat-gateway", tmp_path) as http:
        await log_in(plane, namespace, "chat", http)
        assert "before the backup" in await read_general(http)

    await plane.helm("uninstall", "chat", "-n", namespace, "--wait")
    await plane.until(lambda: is_gone(plane, namespace), 60)
    claims = await plane.list_objects("v1", "persistentvolumeclaims", namespace)
    assert {claim["metadata"]["name"] for claim in claims} == {"data-chat-single-0", "data-chat2-single-0", "backups"}


async def until_named(http: httpx.AsyncClient, name: str) -> None:
    """Until the workspace has this name: settings reach the pod as the kubelet renews what it mounts."""
    async with asyncio.timeout(150):
        while True:
            answer = await http.get("settings.public", params={"_id": "Site_Name"})
            assert answer.status_code == 200, answer.text
            if [setting["value"] for setting in answer.json()["settings"]] == [name]:
                return
            await asyncio.sleep(8)  # ten calls a minute are allowed


async def is_gone(plane: ControlPlane, namespace: str) -> bool:
    """Whether no pod is left but those whose work is done, of a backup that stays."""
    pods = await plane.list_objects("v1", "pods", namespace)
    return all(pod["status"].get("phase") == "Succeeded" for pod in pods)
