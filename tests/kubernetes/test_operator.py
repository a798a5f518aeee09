"""The operator against a real API server, controller manager and scheduler; the nodes are simulated."""

import asyncio

import pytest
import yaml

from palaver_operator.objects.secrets import values_of
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    PALAVERS,
    Operator,
    get_deployment,
    get_palaver,
    palaver,
    patch_spec,
    until_state,
)

pytestmark = pytest.mark.needs_servers
ROLES = ("auth", "presence", "messaging", "gateway")


async def test_a_workspace_becomes_available_and_then_nothing_is_written(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    await plane.apply(palaver(namespace))
    status = await until_state(plane, namespace, "Ready")
    assert status["version"] == "0.1.0"
    assert status["ready"] == "4/4"
    assert set(status["roles"]) == set(ROLES)
    shown = await plane.kubectl("get", "palaver", "-n", namespace)
    assert "0.1.0" in shown
    assert "Ready" in shown
    events = await plane.list_objects("events.k8s.io/v1", "events", namespace)
    told = {event["reason"] for event in events if event["regarding"]["kind"] == "Palaver"}
    assert {"Creating", "AllRolesReady"} <= told

    async def pass_rounds(count: int) -> None:
        done = 'palaver_operator_reconciles_finished_total{outcome="done"}'
        before = (await operator.metrics())[done]

        async def have_passed() -> bool:
            return (await operator.metrics())[done] >= before + count

        await plane.until(have_passed, 120)

    await pass_rounds(2)  # the last of its own changes has been seen, and sizes have been decided
    written = await operator.written()
    version = (await get_palaver(plane, namespace))["metadata"]["resourceVersion"]
    await pass_rounds(3)
    assert await operator.written() == written
    assert (await get_palaver(plane, namespace))["metadata"]["resourceVersion"] == version


@pytest.mark.parametrize("size", ["single"])
async def test_a_single_pod(plane: ControlPlane, namespace: str, operator: Operator, size: str) -> None:
    await plane.apply(palaver(namespace, size=size, mongodb=None, nats=None, storage={"size": "1Gi"}))
    status = await until_state(plane, namespace, "Ready")
    assert status["ready"] == "1/1"
    assert await plane.get("apps/v1", "statefulsets", namespace, "chat-single")


CHILDREN = [
    ("apps/v1", "deployments", "chat-auth", {"spec": {"replicas": 0}}),
    ("apps/v1", "statefulsets", "chat-nats", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}),
    ("v1", "services", "chat-gateway", {"spec": {"selector": {"app.kubernetes.io/component": "other"}}}),
    ("v1", "configmaps", "chat-settings", {"data": {"settings.json": "x"}}),
    ("policy/v1", "poddisruptionbudgets", "chat-gateway", {"spec": {"maxUnavailable": 5}}),
    ("networking.k8s.io/v1", "networkpolicies", "chat-auth", {"spec": {"ingress": [{}]}}),
    ("networking.k8s.io/v1", "ingresses", "chat", {"spec": {"rules": [{"host": "other.example.org"}]}}),
    ("v1", "secrets", "chat-grpc-auth", {"data": {"tls.crt": "eA=="}}),
]


def what_it_says(found: Object) -> Object:
    """Without what a new Service is given anew."""
    spec = {name: value for name, value in found.get("spec", {}).items() if not name.startswith("clusterIP")}
    return {"spec": spec, "data": found.get("data")}


async def test_what_is_deleted_or_edited_by_hand_comes_back(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    password = (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"]
    for api, plural, name, edit in CHILDREN:
        before = await plane.get(api, plural, namespace, name)
        text = yaml.safe_dump(edit)
        await plane.kubectl("patch", f"{plural}/{name}", "-n", namespace, "--type=merge", f"--patch={text}")

        async def is_back(api: str = api, plural: str = plural, name: str = name, before: Object = before) -> bool:
            found = await plane.find(api, plural, namespace, name)
            if found is None or found["metadata"].get("deletionTimestamp"):
                return False
            if plural == "secrets":
                return bool(found["data"]["tls.crt"] != "eA==")
            return what_it_says(found) == what_it_says(before)

        await plane.until(is_back, 120)
        await plane.kubectl("delete", f"{plural}/{name}", "-n", namespace, "--wait=true")
        await plane.until(is_back, 120)
    await until_state(plane, namespace, "Ready")
    assert (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"] == password


async def test_a_nats_of_before_tls_stays_until_it_is_made_anew(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    """And a password that is changed is changed in the address, and wherever it is read."""

    async def values(name: str) -> dict[str, str]:
        return values_of(await plane.get("v1", "secrets", namespace, name))

    async def digests() -> list[str]:
        sets = await plane.get("apps/v1", "statefulsets", namespace, "chat-nats")
        pods = [sets, *[await get_deployment(plane, namespace, role) for role in ("auth", "gateway")]]
        return [one["spec"]["template"]["metadata"]["annotations"]["palaver.chat/secrets"] for one in pods]

    before = {"user": "palaver", "password": "p", "url": f"nats://palaver:p@chat-nats.{namespace}.svc:4222"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat-nats", "namespace": namespace}}
    await plane.apply(secret | {"stringData": before}, palaver(namespace))
    await until_state(plane, namespace, "Ready")
    assert await values("chat-nats") == {**before, "gatewayUrl": before["url"], "routesPassword": "p"}
    assert "tls" not in (await values("chat-nats-config"))["nats.conf"]
    old = await digests()

    await plane.kubectl("delete", "secret/chat-nats", "statefulset/chat-nats", "-n", namespace)

    async def is_secured() -> bool:
        found = await plane.find("v1", "secrets", namespace, "chat-nats-config")
        return found is not None and "tls {" in values_of(found)["nats.conf"]

    await plane.until(is_secured, 120)

    async def have_rolled(before: list[str]) -> bool:
        status = (await get_palaver(plane, namespace))["status"]
        return status["state"] == "Ready" and not set(await digests()) & set(before)

    await plane.until(lambda: have_rolled(old), 120)
    secured = await digests()
    change = yaml.safe_dump({"stringData": {"gatewayPassword": "mine"}})
    await plane.kubectl("patch", "secret", "chat-nats", "-n", namespace, f"--patch={change}")
    await plane.until(lambda: have_rolled(secured), 120)
    assert (await values("chat-nats"))["gatewayUrl"] == f"tls://gateway:mine@chat-nats.{namespace}.svc:4222"


async def test_floors_by_kubectl(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    await plane.kubectl("scale", "palaver", "chat", "-n", namespace, "--replicas=3")
    status = await until_state(plane, namespace, "Ready")
    assert status["roles"]["gateway"]["min"] == 3
    await patch_spec(plane, namespace, {"roles": {"messaging": {"min": 3}}})

    async def has_grown() -> bool:
        status = (await get_palaver(plane, namespace))["status"]
        return bool(status["roles"]["messaging"]["ready"] == 3 and status["roles"]["gateway"]["ready"] == 3)

    await plane.until(has_grown, 120)


async def test_what_is_paused_is_left_alone(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    await patch_spec(plane, namespace, {"paused": True})
    await until_state(plane, namespace, "Paused")
    await plane.kubectl("delete", "service", "chat-gateway", "-n", namespace)
    await asyncio.sleep(3)
    assert await plane.find("v1", "services", namespace, "chat-gateway") is None
    await patch_spec(plane, namespace, {"paused": False})
    await plane.until(lambda: plane.find("v1", "services", namespace, "chat-gateway"), 120)


async def test_an_autoscaler_of_yours_is_left_alone(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "mine", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-gateway"},
            "minReplicas": 5,
            "maxReplicas": 9,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                }
            ],
        },
    }
    await plane.apply(autoscaler)

    async def is_told() -> bool:
        status = (await get_palaver(plane, namespace))["status"]
        return bool(status["roles"]["gateway"].get("sizedBy") == "HorizontalPodAutoscaler")

    await plane.until(is_told, 120)

    async def is_theirs() -> bool:
        return bool((await get_deployment(plane, namespace, "gateway"))["spec"]["replicas"] == 5)

    await plane.until(is_theirs, 120)
    await asyncio.sleep(12)  # a round of the operator
    assert await is_theirs()


async def test_deleting_leaves_only_what_people_wrote(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    await plane.kubectl("delete", "palaver", "chat", "-n", namespace, "--wait=true")
    selector = "app.kubernetes.io/managed-by=palaver-operator"

    async def left() -> set[str]:
        found = set()
        for api, plural in [(api, plural) for api, plural, _, _ in CHILDREN] + [("v1", "persistentvolumeclaims")]:
            labels = "app.kubernetes.io/instance=chat" if plural == "persistentvolumeclaims" else selector
            there = await plane.list_objects(api, plural, namespace, labels)
            found |= {f"{plural}/{one['metadata']['name']}" for one in there}
        return found

    kept = {"secrets/chat-mongodb", "persistentvolumeclaims/data-chat-mongodb-0"}

    async def is_clean() -> bool:
        return await left() == kept

    await plane.until(is_clean, 120)
    # Made again, it opens what it has left.
    password = (await plane.get("v1", "secrets", namespace, "chat-mongodb"))["data"]
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    assert (await plane.get("v1", "secrets", namespace, "chat-mongodb"))["data"] == password


async def test_a_secret_that_is_missing_is_told_and_taken_when_it_comes(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    await plane.apply(palaver(namespace, mongodb={"secretName": "mine"}))
    status = await until_state(plane, namespace, "SecretMissing")
    assert "mine" in next(entry["message"] for entry in status["conditions"] if entry["type"] == "Degraded")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": namespace}}
    await plane.apply(secret | {"stringData": {"url": "mongodb://mongodb.example.org:27018"}})
    await until_state(plane, namespace, "Ready")
    policy = await plane.get("networking.k8s.io/v1", "networkpolicies", namespace, "chat-auth")
    assert {"ports": [{"port": 27018, "protocol": "TCP"}]} in policy["spec"]["egress"]
    # When it is lost again, those who run stay.
    before = await get_deployment(plane, namespace, "auth")
    await plane.kubectl("delete", "secret", "mine", "-n", namespace)
    await until_state(plane, namespace, "SecretMissing")
    await patch_spec(plane, namespace, {"drain": {"seconds": 2}, "nats": {"managed": None, "secretName": "lost"}})
    await until_state(plane, namespace, "SecretMissing")
    after = await get_deployment(plane, namespace, "auth")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert await plane.find("apps/v1", "statefulsets", namespace, "chat-nats"), "who runs still needs it"
    assert await plane.list_objects(PALAVERS, "palavers", namespace)
