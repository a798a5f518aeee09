"""The Kubernetes that other tests rely on is there, and does what they ask of it."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.kubernetes.access import CommandFailed, Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.schemas import check_manifests

pytestmark = pytest.mark.needs_servers

LABELS = {"app": "web"}
POD = {"containers": [{"name": "web", "image": "example.org/web:1"}]}


def deployment(namespace: str, replicas: int, **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {**POD, **spec}},
        },
    }


async def until_ready(kubernetes: ControlPlane, namespace: str, replicas: int) -> None:
    async def is_ready() -> bool:
        found = await kubernetes.get("apps/v1", "deployments", namespace, "web")
        status = found["status"]
        has_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return bool(has_seen and status.get("readyReplicas", 0) == status.get("replicas", 0) == replicas)

    await kubernetes.until(is_ready)


async def test_pods_become_ready_on_nodes_of_every_zone_and_go(kubernetes: ControlPlane, namespace: str) -> None:
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": LABELS},
    }
    await kubernetes.apply(deployment(namespace, 6, topologySpreadConstraints=[spread]))
    await until_ready(kubernetes, namespace, 6)
    pods = await kubernetes.list_objects("v1", "pods", namespace, "app=web")
    zones = {
        node["metadata"]["name"]: node["metadata"]["labels"]["topology.kubernetes.io/zone"]
        for node in await kubernetes.list_objects("v1", "nodes")
    }
    assert sorted(zones[pod["spec"]["nodeName"]] for pod in pods) == sorted(2 * ["zone-0", "zone-1", "zone-2"])
    assert len({pod["status"]["podIP"] for pod in pods}) == 6

    await kubernetes.kubectl("scale", "deployment/web", "--replicas=2", "-n", namespace)
    await until_ready(kubernetes, namespace, 2)
    await kubernetes.kubectl("delete", "deployment/web", "-n", namespace)

    async def are_gone() -> bool:
        return not await kubernetes.list_objects("v1", "pods", namespace)

    await kubernetes.until(are_gone)


async def test_a_job_completes(kubernetes: ControlPlane, namespace: str) -> None:
    template = {"spec": {**POD, "restartPolicy": "Never"}}
    await kubernetes.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once", "namespace": namespace},
            "spec": {"template": template},
        }
    )
    await kubernetes.kubectl("wait", "--for=condition=Complete", "--timeout=300s", "job/once", "-n", namespace)


async def test_a_stateful_set_has_its_volumes(kubernetes: ControlPlane, namespace: str) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await kubernetes.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "store", "namespace": namespace},
            "spec": {
                "serviceName": "store",
                "replicas": 3,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": POD},
                "volumeClaimTemplates": [claim],
            },
        }
    )
    await kubernetes.kubectl("rollout", "status", "statefulset/store", "--timeout=300s", "-n", namespace)
    claims = await kubernetes.list_objects("v1", "persistentvolumeclaims", namespace)
    assert sorted((found["metadata"]["name"], found["status"]["phase"]) for found in claims) == [
        (f"data-store-{number}", "Bound") for number in range(3)
    ]


async def test_what_it_was_told_survives_a_restart_of_the_api_server(kubernetes: ControlPlane, namespace: str) -> None:
    await kubernetes.apply(deployment(namespace, 2))
    await until_ready(kubernetes, namespace, 2)
    await kubernetes.stop_api_server()
    with pytest.raises(httpx.ConnectError):
        await kubernetes.request("GET", "/version")
    await kubernetes.start_api_server()
    # Controllers, scheduler and nodes have found it again.
    await kubernetes.kubectl("scale", "deployment/web", "--replicas=3", "-n", namespace)
    await until_ready(kubernetes, namespace, 3)


async def test_a_service_account_may_what_its_role_says(kubernetes: ControlPlane, namespace: str) -> None:
    await kubernetes.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    await kubernetes.kubectl("create", "role", "reader", "--verb=list", "--resource=configmaps", "-n", namespace)
    await kubernetes.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader", "-n", namespace
    )
    reader = await kubernetes.service_account(namespace, "reader")
    assert "kube-root-ca.crt" in await kubernetes.kubectl("get", "configmaps", kubeconfig=reader)
    with pytest.raises(CommandFailed, match=r'cannot list resource "secrets"'):
        await kubernetes.kubectl("get", "secrets", kubeconfig=reader)


# -- helm -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart of one deployment."""
    folder = tmp_path / "web"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\nkubeVersion: '>=1.30.0'\n")
    (folder / "values.yaml").write_text("replicas: 1\n")
    (folder / "templates" / "web.yaml").write_text(
        """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.org/web:1"}]}
"""
    )
    return folder


async def test_helm_installs_upgrades_rolls_back_and_leaves_nothing(
    kubernetes: ControlPlane, namespace: str, chart: Path
) -> None:
    there = ("web", "-n", namespace, "--wait", "--timeout=300s")
    await kubernetes.helm("install", there[0], str(chart), *there[1:])
    await until_ready(kubernetes, namespace, 1)
    await kubernetes.helm("upgrade", there[0], str(chart), *there[1:], "--set", "replicas=3")
    await until_ready(kubernetes, namespace, 3)
    await kubernetes.helm("rollback", there[0], "1", *there[1:])
    await until_ready(kubernetes, namespace, 1)
    await kubernetes.helm("uninstall", *there)
    assert await kubernetes.find("apps/v1", "deployments", namespace, "web") is None
    assert "apps/v1" in await kubernetes.helm("template", str(chart)), "of this version of Kubernetes"


# -- checking manifests ---------------------------------------------------------------------------------------------

CUSTOM_KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gardens.harness.example.org"},
    "spec": {
        "group": "harness.example.org",
        "scope": "Namespaced",
        "names": {"plural": "gardens", "singular": "garden", "kind": "Garden"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"trees": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}


@pytest_asyncio.fixture
async def schemas(kubernetes: ControlPlane, tmp_path: Path) -> Path:
    await kubernetes.apply(CUSTOM_KIND)
    return tmp_path / "schemas"


@pytest.mark.parametrize(
    ("manifest", "wrong"),
    [
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {key: value}}", ""),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, datum: {key: value}}", "datum"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {key: 5}}", "/data/key"),
        ("{apiVersion: harness.example.org/v1, kind: Garden, metadata: {name: one}, spec: {trees: 3}}", ""),
        ("{apiVersion: harness.example.org/v1, kind: Garden, metadata: {name: one}, spec: {tree: 3}}", "tree"),
        ("{apiVersion: harness.example.org/v1, kind: Shed, metadata: {name: one}}", "Shed"),
    ],
)
async def test_manifests_are_checked_strictly(
    kubernetes: ControlPlane, schemas: Path, manifest: str, wrong: str
) -> None:
    if wrong:
        with pytest.raises(CommandFailed, match=wrong):
            await check_manifests(kubernetes, schemas, manifest)
    else:
        await check_manifests(kubernetes, schemas, manifest)


async def test_promtool_tells_a_wrong_rule(kubernetes: ControlPlane, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text('groups: [{name: one, rules: [{alert: Down, expr: "up == 0"}]}]')
    assert "1 rules found" in await kubernetes.run("promtool", "check", "rules", str(rules))
    rules.write_text('groups: [{name: one, rules: [{alert: Down, expr: "up == == 0"}]}]')
    with pytest.raises(CommandFailed, match="could not parse expression"):
        await kubernetes.run("promtool", "check", "rules", str(rules))
