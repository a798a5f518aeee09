"""The operator against a real API server, controller manager and scheduler; the nodes are simulated."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from palaver_operator.kinds import list_rules
from tests.kubernetes.access import Access, CommandFailed, Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    PALAVERS,
    Operator,
    get_palaver,
    palaver,
    running_operator,
    until_state,
)

pytestmark = pytest.mark.needs_servers
ROLES = ("auth", "presence", "messaging", "gateway")


@pytest_asyncio.fixture
async def operator(plane: ControlPlane, namespace: str) -> AsyncIterator[Operator]:
    async with running_operator(plane, namespace) as found:
        yield found


async def patch(plane: Access, namespace: str, spec: Object) -> None:
    text = yaml.safe_dump({"spec": spec})
    await plane.kubectl("patch", "palaver", "chat", "-n", namespace, "--type=merge", f"--patch={text}")


async def deployment(plane: Access, namespace: str, role: str) -> Object:
    return await plane.get("apps/v1", "deployments", namespace, f"chat-{role}")


def image(workload: Object) -> str:
    found: str = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


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

        await plane.until(have_passed, 90)

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

        await plane.until(is_back, 30)
        await plane.kubectl("delete", f"{plural}/{name}", "-n", namespace, "--wait=true")
        await plane.until(is_back, 30)
    await until_state(plane, namespace, "Ready")
    assert (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"] == password


REFUSED: list[tuple[Object, str]] = [
    ({"hostname": "https://chat.example.org"}, "a DNS name in small letters is wanted"),
    ({"version": "latest"}, "a full version is wanted"),
    ({"mongodb": None}, "mongodb is missing"),
    ({"mongodb": {"secretName": "mine", "trial": {}}}, "say either secretName"),
    ({"nats": {"secretName": "mine", "managed": {}}}, "say either secretName"),
    ({"size": "single"}, "size single keeps everything in its own volume"),
    ({"federation": {"enabled": True}}, "this version of Palaver has none yet"),
    ({"roles": {"auth": {"min": 5, "max": 2}}}, "min is greater than max"),
    ({"roles": {"auth": {"min": 0}}}, "greater than or equal to 1"),
    ({"route": {"kind": "HTTPRoute"}}, "route.gateway.name is missing"),
    ({"route": {"kind": "NodePort"}}, "Unsupported value"),
    ({"nats": {"managed": {"replicas": 2}}}, "Unsupported value"),
    ({"backup": {"to": {}}}, "say either objectStorage or volume"),
    ({"backup": {"schedule": "daily", "to": {"volume": {"claimName": "c"}}}}, "five fields are wanted"),
    ({"objectStorage": {"endpoint": "s3", "bucket": "b", "secretName": "s"}}, "http:// or https:// is missing"),
    ({"resources": {"limits": {"memory": "1Gi"}}}, "say roles.ROLE.resources"),
    ({"image": {"tag": "0.9.0"}}, "begins with the version"),
    ({"monitoring": {"rules": True}}, "say serviceMonitor: true, too"),
    ({"hostnam": "chat.example.org"}, "unknown field"),
]


@pytest.mark.parametrize(("spec", "told"), REFUSED, ids=[told for _, told in REFUSED])
async def test_nonsense_is_refused_with_a_sentence(
    plane: ControlPlane, namespace: str, spec: dict[str, Any], told: str
) -> None:
    text = yaml.safe_dump(palaver(namespace, **spec))
    with pytest.raises(CommandFailed, match=told):
        await plane.kubectl("apply", "--validate=strict", "-f", "-", text=text)


async def test_what_can_not_be_changed_is_refused(plane: ControlPlane, namespace: str) -> None:
    await plane.apply(palaver(namespace))
    with pytest.raises(CommandFailed, match="size can't be changed"):
        await patch(plane, namespace, {"size": "single", "mongodb": None, "nats": None})
    with pytest.raises(CommandFailed, match="don't know of each other"):
        await patch(plane, namespace, {"mongodb": {"trial": None, "secretName": "m"}})
    for volume in ({"storage": "2Gi"}, {"storageClassName": "fast"}, {"storage": None}):
        with pytest.raises(CommandFailed, match="grow its PersistentVolumeClaim"):
            await patch(plane, namespace, {"mongodb": {"trial": volume}})
        with pytest.raises(CommandFailed, match="grow their PersistentVolumeClaims"):
            await patch(plane, namespace, {"nats": {"managed": volume}})
    with pytest.raises(CommandFailed, match="grow their PersistentVolumeClaims"):
        await patch(plane, namespace, {"nats": None})
    named = palaver(namespace)
    named["metadata"]["name"] = "a.b"
    with pytest.raises(CommandFailed, match="at most 40 small letters"):
        await plane.apply(named)


async def test_floors_by_kubectl(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    await plane.kubectl("scale", "palaver", "chat", "-n", namespace, "--replicas=3")
    status = await until_state(plane, namespace, "Ready")
    assert status["roles"]["gateway"]["min"] == 3
    await patch(plane, namespace, {"roles": {"messaging": {"min": 3}}})

    async def has_grown() -> bool:
        status = (await get_palaver(plane, namespace))["status"]
        return bool(status["roles"]["messaging"]["ready"] == 3 and status["roles"]["gateway"]["ready"] == 3)

    await plane.until(has_grown, 60)


async def test_what_is_paused_is_left_alone(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    await patch(plane, namespace, {"paused": True})
    await until_state(plane, namespace, "Paused")
    await plane.kubectl("delete", "service", "chat-gateway", "-n", namespace)
    await asyncio.sleep(3)
    assert await plane.find("v1", "services", namespace, "chat-gateway") is None
    await patch(plane, namespace, {"paused": False})
    await plane.until(lambda: plane.find("v1", "services", namespace, "chat-gateway"), 30)


async def test_a_new_version_migrates_and_rolls_and_a_jump_is_refused(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    await plane.apply(palaver(namespace, version="0.0.9"))
    await until_state(plane, namespace, "Ready")
    order: list[str] = []

    async def watch() -> None:
        while len(order) < len(ROLES):
            for role in ROLES:
                if role not in order and image(await deployment(plane, namespace, role)) == "palaver:0.1.0":
                    order.append(role)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await patch(plane, namespace, {"version": "0.1.0"})

    async def runs() -> bool:
        return bool((await get_palaver(plane, namespace))["status"].get("version") == "0.1.0")

    await plane.until(runs, 120)
    await asyncio.wait_for(watching, 10)
    assert order == list(ROLES)
    events = await plane.list_objects("events.k8s.io/v1", "events", namespace)
    assert {"Migrating", "RollingOut", "VersionRuns"} <= {event["reason"] for event in events}

    async def has_cleared_up() -> bool:
        return await plane.list_objects("batch/v1", "jobs", namespace) == []

    await plane.until(has_cleared_up, 60)
    before = await deployment(plane, namespace, "auth")
    for version, state in (("0.0.9", "VersionRefused"), ("0.4.0", "VersionRefused"), ("0.2.0", "OperatorOlder")):
        # An image of its own is no way round it; nor is what else would make other pods.
        tag = {"image": {"tag": f"{version}-mirror"}, "drain": {"seconds": 7}}
        await patch(plane, namespace, {"version": version, **tag})
        status = await until_state(plane, namespace, state)
        assert (status["version"], status["ready"]) == ("0.1.0", "4/4")
        after = await deployment(plane, namespace, "auth")
        assert image(after) == "palaver:0.1.0"
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert await plane.list_objects("batch/v1", "jobs", namespace) == []
    # What comes back without a status is known by what runs.
    cleared = yaml.safe_dump({"status": {"version": None}})
    await plane.kubectl(
        "patch", "palaver", "chat", "-n", namespace, "--subresource=status", "--type=merge", f"--patch={cleared}"
    )
    await plane.until(runs, 60)
    await patch(plane, namespace, {"version": "0.1.0", "image": None, "drain": {"seconds": 1}})
    await until_state(plane, namespace, "Ready")


async def test_a_revision_that_fails_is_taken_back(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    # No node has so much: these pods never start, and one of them is made to look as if it had ended again and again.
    await patch(plane, namespace, {"roles": {"presence": {"resources": {"requests": {"cpu": "1000"}}}}})

    async def waiting() -> Object | None:
        pods = await plane.list_objects("v1", "pods", namespace, "app.kubernetes.io/component=presence")
        return next((pod for pod in pods if pod["status"]["phase"] == "Pending"), None)

    pod = await plane.until(waiting, 30)
    fallen = {"name": "palaver", "image": "x", "imageID": "", "ready": False, "restartCount": 4, "state": {}}
    change = yaml.safe_dump({"status": {"containerStatuses": [fallen]}})
    name = pod["metadata"]["name"]
    await plane.kubectl(
        "patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", f"--patch={change}"
    )
    status = await until_state(plane, namespace, "RolledBack")
    assert "has ended 4 times" in status["rollout"]["message"]

    async def is_back() -> bool:
        found = await deployment(plane, namespace, "presence")
        requests = found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        return bool(requests["cpu"] != "1k" and requests["cpu"] != "1000")

    await plane.until(is_back, 30)
    await patch(plane, namespace, {"roles": {"presence": None}})
    await until_state(plane, namespace, "Ready")


async def test_every_part_of_the_spec_can_be_changed(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    """What the API server would refuse to change shows here: each change is taken, and everything gets ready again."""
    storage = {"endpoint": "https://s3.example.org", "bucket": "b", "secretName": "mine"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": namespace}}
    values = {"url": "nats://nats.example.org", "accessKey": "a", "secretKey": "s", "username": "u", "password": "p"}
    await plane.apply(secret | {"stringData": values}, palaver(namespace))
    await until_state(plane, namespace, "Ready")
    changes: list[Object] = [
        {
            "image": {"repository": "other", "tag": "0.1.0-x", "pullPolicy": "Always", "pullSecrets": ["mine"]},
            "hostname": "other.example.org",
            "tls": {"secretName": "mine"},
            "route": {"className": "nginx", "annotations": {"a": "b"}, "trustedProxies": 2},
            "drain": {"seconds": 2, "noticeSeconds": 1},
            "nats": {"managed": {"replicas": 3, "image": "nats:2.12", "resources": {"limits": {"memory": "2Gi"}}}},
            "mongodb": {"trial": {"image": "mongo:9", "resources": {"limits": {"memory": "2Gi"}}}},
            "pods": {
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"key": "pool", "value": "chat", "effect": "NoExecute", "tolerationSeconds": 5}],
                "labels": {"team": "t"},
                "annotations": {"mesh": "off"},
            },
            "outbound": {"allowed": ["10.1.0.0/16", "ci.internal"]},
            "objectStorage": storage,
            "admin": {"secretName": "mine"},
            "dataPolicy": "Delete",
        },
        {
            "expectedUsers": 30000,
            "scaling": {"enabled": False, "downStabilizationSeconds": 60},
            "roles": {"auth": {"min": 1, "max": 1, "resources": {"limits": {"memory": "1Gi", "cpu": 1}}}},
            "settings": {"Site_Name": "Talk", "FileUpload_MaxFileSize": 5, "Accounts_RegistrationForm": "Disabled"},
            "nats": {"managed": None, "secretName": "mine", "replicas": 1},
            "objectStorage": None,
            "tls": None,
            "route": {"kind": "None"},
            "monitoring": {"dashboards": True},
            "backup": {"to": {"objectStorage": storage}, "schedule": "@daily", "keep": 3},
        },
    ]
    for change in changes:
        await patch(plane, namespace, change)
        version = (await get_palaver(plane, namespace))["metadata"]["generation"]

        async def is_complete(version: int = version) -> bool:
            status = (await get_palaver(plane, namespace))["status"]
            is_seen = status["observedGeneration"] == version
            return bool(is_seen and status["rollout"]["phase"] == "Complete" and status["state"] == "Ready")

        await plane.until(is_complete, 120)
    assert await plane.find("apps/v1", "statefulsets", namespace, "chat-nats") is None
    assert await plane.find("networking.k8s.io/v1", "ingresses", namespace, "chat") is None
    assert len(await plane.list_objects("v1", "pods", namespace, "app.kubernetes.io/component=auth")) == 1


async def test_an_operator_that_dies_and_an_api_server_that_restarts(plane: ControlPlane, namespace: str) -> None:
    async with running_operator(plane, namespace) as first:
        await plane.apply(palaver(namespace))
        await plane.until(lambda: plane.find("v1", "secrets", namespace, "chat-nats"), 30)
        first.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.process.wait)
    passwords = (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"]
    async with running_operator(plane, namespace):
        await until_state(plane, namespace, "Ready")
        assert (await plane.get("v1", "secrets", namespace, "chat-nats"))["data"] == passwords
        await plane.stop_api_server()
        await plane.start_api_server()
        await plane.kubectl("delete", "service", "chat-gateway", "-n", namespace)
        await plane.until(lambda: plane.find("v1", "services", namespace, "chat-gateway"), 60)
        await until_state(plane, namespace, "Ready")


async def test_of_two_operators_one_works(plane: ControlPlane, namespace: str) -> None:
    options = ("--lease", "palaver-operator")
    os.environ.pop("POD_NAMESPACE", None)
    async with running_operator(plane, namespace, options=options) as first:
        await plane.until(first.leads, 60)
        async with running_operator(plane, namespace, options=options) as second:
            await plane.apply(palaver(namespace))
            await until_state(plane, namespace, "Ready")
            assert not await second.leads()
            first.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.process.wait) == 0
            await plane.until(second.leads, 12)  # it was given the lease: no need to wait for its end
            await plane.kubectl("delete", "service", "chat-gateway", "-n", namespace)
            await plane.until(lambda: plane.find("v1", "services", namespace, "chat-gateway"), 60)


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

    await plane.until(is_told, 60)

    async def is_theirs() -> bool:
        return bool((await deployment(plane, namespace, "gateway"))["spec"]["replicas"] == 5)

    await plane.until(is_theirs, 60)
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

    await plane.until(is_clean, 90)
    # Made again, it opens what it has left.
    password = (await plane.get("v1", "secrets", namespace, "chat-mongodb"))["data"]
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    assert (await plane.get("v1", "secrets", namespace, "chat-mongodb"))["data"] == password


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
    options = ("--lease", "palaver-operator")
    async with running_operator(plane, namespace, kubeconfig=account, options=options) as operator:
        await plane.apply(palaver(namespace, version="0.0.9"))
        await until_state(plane, namespace, "Ready")
        await patch(plane, namespace, {"version": "0.1.0", "route": {"kind": "None"}})

        async def runs() -> bool:
            return bool((await get_palaver(plane, namespace))["status"].get("version") == "0.1.0")

        await plane.until(runs, 120)
        assert "forbidden" not in operator.log.read_text()

        # A right that it lacks is told where people look.
        less = [rule for rule in list_rules() if rule["resources"] != ["secrets"]]
        role = {"metadata": {"name": name, "namespace": namespace}, "rules": less}
        await plane.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **role})
        await patch(plane, namespace, {"admin": {"secretName": "mine"}})
        status = await until_state(plane, namespace, "ReconcileFailed")
        assert "forbidden" in next(one["message"] for one in status["conditions"] if one["type"] == "Degraded")


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
    before = await deployment(plane, namespace, "auth")
    await plane.kubectl("delete", "secret", "mine", "-n", namespace)
    await until_state(plane, namespace, "SecretMissing")
    await patch(plane, namespace, {"drain": {"seconds": 2}, "nats": {"managed": None, "secretName": "lost"}})
    await until_state(plane, namespace, "SecretMissing")
    after = await deployment(plane, namespace, "auth")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert await plane.find("apps/v1", "statefulsets", namespace, "chat-nats"), "who runs still needs it"
    assert await plane.list_objects(PALAVERS, "palavers", namespace)
