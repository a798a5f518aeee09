"""Palaver's image in real pods, with a MongoDB wire server and NATS in others."""

import time
from collections.abc import Mapping
from typing import Any

import httpx

from tests.e2e.process import ADMIN
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.real.images import PALAVER
from tests.kubernetes.real.servers import MONGODB_PORT, NATS_PORT, mongodb, nats


def workspace(namespace: str, **environment: str) -> list[Object]:
    """Every role in one pod, as restricted as a pod can be."""
    variables = {
        "PALAVER_HEALTH_PORT": "9090",
        "PALAVER_MONGODB_URL": f"mongodb://mongodb:{MONGODB_PORT}",
        "PALAVER_NATS_URL": f"nats://nats:{NATS_PORT}",
        "PALAVER_ADMIN_USERNAME": ADMIN["user"],
        "PALAVER_ADMIN_PASSWORD": ADMIN["password"],
        "PALAVER_ADMIN_EMAIL": "boss@example.org",
        "PALAVER_ADMIN_NAME": "The Boss",
        "PALAVER_TEST_MODE": "1",
        **environment,
    }
    container = {
        "name": "palaver",
        "image": PALAVER,
        "imagePullPolicy": "Never",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"containerPort": 3000}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9090}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 9090}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    labels = {"app": "palaver"}
    pod: Mapping[str, Any] = {
        "containers": [container],
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    metadata = {"name": "palaver", "namespace": namespace}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 3000}]},
        },
    ]


async def test_a_workspace_in_real_pods_serves_and_comes_back(plane: ControlPlane, namespace: str) -> None:
    began = time.monotonic()
    await plane.apply(*mongodb(namespace), *nats(namespace), *workspace(namespace))
    for name in ("mongodb", "nats", "palaver"):
        await plane.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=120s")
    print(f"ready after {time.monotonic() - began:.1f} s")
    service = await plane.get("v1", "services", namespace, "palaver")
    url = f"http://{service['spec']['clusterIP']}/api/v1/"
    async with httpx.AsyncClient(base_url=url, timeout=15) as http:
        answer = await http.post("login", json=ADMIN)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        headers = {"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]}
        sent = await http.post("chat.postMessage", json={"channel": "#general", "text": "from a pod"}, headers=headers)
        assert sent.json()["success"], sent.text

    pods = await plane.list_objects("v1", "pods", namespace, "app=palaver")
    await plane.kubectl("delete", "pod", pods[0]["metadata"]["name"], "-n", namespace, "--wait")
    await plane.kubectl("rollout", "status", "deployment/palaver", "-n", namespace, "--timeout=60s")
    # The node's proxy may hear of the new pod a little later than kubectl does.
    patient = httpx.AsyncHTTPTransport(retries=6)
    async with httpx.AsyncClient(base_url=url, timeout=15, headers=headers, transport=patient) as http:
        found = (await http.get("channels.history", params={"roomName": "general"})).json()
    assert "from a pod" in [message["msg"] for message in found["messages"]]


async def test_a_pod_of_the_image_has_no_shell_and_writes_nothing_but_its_data(
    plane: ControlPlane, namespace: str
) -> None:
    await plane.apply(*workspace(namespace, PALAVER_MONGODB_URL="", PALAVER_NATS_URL="", PALAVER_HEALTH_PORT="9090"))
    await plane.kubectl("rollout", "status", "deployment/palaver", "-n", namespace, "--timeout=120s")

    async def inside(*command: str) -> str:
        return await plane.kubectl("exec", "deployment/palaver", "-n", namespace, "--", *command)

    look = "import os; print(os.getuid(), sorted(os.listdir('/usr/local/bin')), os.path.exists('/bin/sh'))"
    programs = "['palaver', 'palaver-operator', 'python3', 'python3.11']"
    assert (await inside("python3", "-c", look)).strip() == f"65532 {programs} False"
    write = "import pathlib\nfor folder in ('/data', '/tmp'): pathlib.Path(folder, 'a').write_text('')\n"
    await inside("python3", "-c", write)
    refused = "import pathlib\ntry: pathlib.Path('/usr/a').write_text('')\nexcept OSError as error: print(error.errno)"
    assert (await inside("python3", "-c", refused)).strip() == "30"  # EROFS
