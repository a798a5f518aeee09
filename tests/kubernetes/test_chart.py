"""The chart on a real API server: what it renders is right, and a release comes, changes and goes without a trace.

kwok's nodes run no containers: the operator is a process of its own, with the chart's arguments and service account.
"""

import time
from collections.abc import Set
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from docs.generate_chart import CHART
from palaver_operator.cli import main
from tests.kubernetes.access import Access, CommandFailed, Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import get_palaver, operator_of, until_state
from tests.kubernetes.schemas import check_manifests, write_schemas
from tests.kubernetes.tools import CUSTOM_KINDS, get_programs

pytestmark = pytest.mark.needs_servers

EXAMPLES = sorted((CHART / "examples").glob("*.yaml"), key=lambda file: file.stem)
HOSTNAME = ("--set", "workspace.spec.hostname=chat.example.org")
SMALL = (*HOSTNAME, "--set", "workspace.spec.nats.managed.replicas=1", "--set", "workspace.spec.drain.seconds=1")
SINGLE = (*HOSTNAME, "--set", "workspace.spec.size=single", "--set", "workspace.spec.dataPolicy=Delete")


# -- what it renders ---------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def schemas(kubernetes: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Schemas of all kinds that the chart and the operator make. The cluster has those of others only meanwhile."""
    folder = tmp_path_factory.mktemp("schemas") / "all"
    found = get_programs(CUSTOM_KINDS)
    files = [option for name in ("monitoring-kinds.yaml", "gateway-kinds.yaml") for option in ("-f", str(found[name]))]
    await kubernetes.kubectl("apply", "--server-side", "-f", str(CHART / "crds"))
    await kubernetes.kubectl("apply", "--server-side", *files)
    # One that is not served yet can't be deleted either: the API server tries again later and later.
    await kubernetes.kubectl("wait", "--for=condition=Established", "--timeout=300s", *files)
    await write_schemas(kubernetes, folder)
    await kubernetes.kubectl("delete", *files)
    return folder


async def template(kubernetes: Access, *options: str) -> str:
    return await kubernetes.helm("template", "chat", str(CHART), "--namespace", "chat", *options)


async def test_lint_finds_nothing(kubernetes: ControlPlane) -> None:
    await kubernetes.helm("lint", "--strict", str(CHART))
    for file in EXAMPLES:
        await kubernetes.helm("lint", "--strict", str(CHART), "--values", str(file), "--namespace", "chat")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.stem))
async def test_examples_are_what_the_api_server_knows(
    kubernetes: ControlPlane, schemas: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered = await template(kubernetes, "--values", str(file))
    await check_manifests(kubernetes, schemas, rendered)
    # So is what the operator makes of it.
    (palaver,) = (one for one in yaml.safe_load_all(rendered) if one["kind"] == "Palaver")
    (tmp_path / "palaver.yaml").write_text(yaml.safe_dump(palaver))
    main(["render", str(tmp_path / "palaver.yaml")])
    made = capsys.readouterr().out
    await check_manifests(kubernetes, schemas, made)
    kinds = {one["kind"] for one in yaml.safe_load_all(made)}
    assert ("StatefulSet" if file.stem == "trial" else "Deployment") in kinds
    if file.stem == "high-availability":
        assert {"HTTPRoute", "ServiceMonitor", "PrometheusRule"} <= kinds


async def test_every_value_is_used_and_right(kubernetes: ControlPlane, schemas: Path) -> None:
    values: Object = {
        "image": {"repository": "r.example.org/p", "tag": "x", "pullPolicy": "Always", "pullSecrets": ["pull-it"]},
        "workspace": {
            "name": "talk",
            "labels": {"team": "a-team"},
            "annotations": {"note": "a-note"},
            "spec": {"hostname": "talk.example.org"},
        },
        "operator": {
            "replicas": 3,
            "namespaces": ["chat", "other-namespace"],
            "logLevel": "debug",
            "resources": {"requests": {"cpu": "77m"}, "limits": {"memory": "333Mi"}},
            "serviceAccount": {"name": "an-account", "annotations": {"role": "a-role"}},
            "podAnnotations": {"pod-note": "b-note"},
            "podLabels": {"pod-team": "b-team"},
            "nodeSelector": {"disk": "fast-disk"},
            "tolerations": [{"key": "dedicated-to", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
            "priorityClassName": "important-class",
            "monitoring": {
                "serviceMonitor": True,
                "rules": True,
                "runbookUrl": "https://wiki.example.org/pages/",
                "labels": {"release": "a-prometheus"},
            },
        },
    }
    rendered = await kubernetes.helm(
        "template", "chat", str(CHART), "--namespace", "chat", "--values", "-", text=yaml.safe_dump(values)
    )
    await check_manifests(kubernetes, schemas, rendered)
    plain = await template(kubernetes, *HOSTNAME)
    assert "runbook_url: https://wiki.example.org/pages/PalaverOperatorAbsent.md" in rendered
    for text in ("r.example.org/p:x", "pull-it", "name: talk", "a-team", "a-note", "an-account", "a-role", "b-note"):
        assert text in rendered, text
        assert text not in plain, text
    for text in ("b-team", "fast-disk", "dedicated-to", "nodeAffinity", "important-class", "a-prometheus", "=debug"):
        assert text in rendered, text
        assert text not in plain, text
    objects = list(yaml.safe_load_all(rendered))
    assert not [one for one in objects if one["kind"].startswith("Cluster")]
    roles = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in objects if one["kind"] == "Role"}
    assert roles == {("chat", "chat-operator-leader"), ("chat", "chat-operator"), ("other-namespace", "chat-operator")}
    assert [one["kind"] for one in yaml.safe_load_all(plain)].count("NetworkPolicy") == 1
    # Without a word, rights in its own namespace alone.
    assert not [one for one in yaml.safe_load_all(plain) if one["kind"].startswith("Cluster")]
    assert "--namespace=chat" in plain
    wide = await template(kubernetes, *HOSTNAME, "--set", "operator.clusterWide=true")
    kinds = [one["kind"] for one in yaml.safe_load_all(wide)]
    assert (kinds.count("ClusterRole"), kinds.count("Role")) == (1, 1), "the one Role is for the lease"
    assert "--namespace=" not in wide
    none = await template(kubernetes, "--set", "operator.create=false", *HOSTNAME)
    assert [one["kind"] for one in yaml.safe_load_all(none)] == ["Palaver"]
    alone = await template(kubernetes, "--set", "workspace.create=false")
    assert "Palaver" not in [one["kind"] for one in yaml.safe_load_all(alone)]


async def test_the_operators_pods_have_no_more_rights_than_they_need(kubernetes: ControlPlane, namespace: str) -> None:
    rendered = await template(kubernetes, *HOSTNAME)
    (found,) = (one for one in yaml.safe_load_all(rendered) if one["kind"] == "Deployment")
    assert found["spec"]["replicas"] == 2
    # The API server itself refuses what the strictest of its standards does not allow.
    await kubernetes.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    spec = {**found["spec"]["template"]["spec"], "serviceAccountName": "default"}
    metadata = {"name": "operator", "namespace": namespace}
    await kubernetes.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("workspace.spec.hostname=", "workspace.spec.hostname is missing"),
        ("workspace.spec.hostnam=x", "hostnam"),
        ("workspace.spec.size=big", "size"),
        ("workspace.spec.roles.gateway.min=many", "min"),
        ("workspace.spec.mongodb.trial.storage=lots", "storage"),
        ("workspace.name=Chat", "name"),
        ("workspace.nam=chat", "nam"),
        ("operator.replicas=0", "replicas"),
        ("operator.resources.request.cpu=1", "request"),
        ("operator.logLevel=loud", "logLevel"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("operator.namespaces={other}", "chat, where the workspace is, must be one of them"),
        ("operator.clusterWide=true,operator.namespaces={chat}", "leave operator.namespaces empty"),
        ("oprator.replicas=2", "oprator"),
    ],
)
async def test_wrong_values_are_refused_with_their_name(kubernetes: ControlPlane, wrong: str, told: str) -> None:
    with pytest.raises(CommandFailed, match=told):
        await template(kubernetes, *HOSTNAME, "--set", wrong)


# -- a release ---------------------------------------------------------------------------------------------------------


async def list_all(kubernetes: Access, namespace: str) -> set[str]:
    """Every object in a namespace, and those of the cluster that a chart could make; but Events."""
    kinds = (await kubernetes.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")).split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
    found = await kubernetes.kubectl("get", wanted, "-n", namespace, "-o", "name")
    wide = await kubernetes.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    return {*found.split(), *wide.split()}


async def until_gone(kubernetes: Access, namespace: str, before: set[str], kept: Set[str] = frozenset()) -> None:
    async def is_gone() -> bool:
        return await list_all(kubernetes, namespace) - before == kept

    try:
        await kubernetes.until(is_gone, 60)
    except TimeoutError:
        assert await list_all(kubernetes, namespace) - before == kept


async def test_a_release_comes_changes_goes_back_and_leaves_only_data(kubernetes: ControlPlane, namespace: str) -> None:
    before = await list_all(kubernetes, namespace)
    there = ("chat", str(CHART), "--namespace", namespace, "--timeout=120s")
    notes = await kubernetes.helm("install", *there, *SMALL, "--wait")
    assert f"kubectl get palaver chat --namespace {namespace}" in notes
    assert "http://chat.example.org" in notes
    assert "trial MongoDB" in notes
    async with operator_of(kubernetes, namespace) as operator:
        assert (await until_state(kubernetes, namespace, "Ready"))["ready"] == "4/4"
        assert await operator.leads()
        await kubernetes.kubectl(
            "wait", "palaver", "chat", "-n", namespace, "--for=condition=Available", "--timeout=60s"
        )
        measured = await operator.metrics()
        own = f'{{namespace="{namespace}",workspace="chat"}}'
        assert measured[f"palaver_operator_certificate_end_timestamp_seconds{own}"] > time.time()
        assert measured[f"palaver_operator_workspace_degraded{own}"] == 0
        assert measured[f"palaver_operator_backup_missing{own}"] == 0
        # Its pods are those that may read metrics.
        policy = await kubernetes.get("networking.k8s.io/v1", "networkpolicies", namespace, "chat-gateway")
        who = [peer for rule in policy["spec"]["ingress"] for peer in rule.get("from", ())]
        (reader,) = (peer for peer in who if peer.get("namespaceSelector"))
        assert reader["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
        wanted = ",".join(f"{name}={value}" for name, value in reader["podSelector"]["matchLabels"].items())
        pods = await kubernetes.list_objects("v1", "pods", namespace, wanted)
        assert {pod["metadata"]["name"].rpartition("-")[0].rpartition("-")[0] for pod in pods} == {"chat-operator"}
        # What NOTES and the README say of the first login.
        show = '{{.data.username | base64decode}} {{.data.password | base64decode}}{{"\\n"}}'
        assert f"--template '{show}'" in notes
        shown = await kubernetes.kubectl("get", "secret", "chat-admin", "-n", namespace, "--template", show)
        name, password = shown.split()
        assert name == "admin"
        assert len(password) >= 24

        # Another name would be another workspace, and this one would be gone.
        with pytest.raises(CommandFailed, match="the workspace chat, which would be deleted"):
            await kubernetes.helm("upgrade", *there, *SMALL, "--set", "workspace.name=other")

        # An upgrade begins with the definitions, as the README has it.
        definitions = await kubernetes.helm("show", "crds", str(CHART))
        await kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=definitions)
        changed = (
            *SMALL,
            "--set",
            "workspace.spec.roles.gateway.min=3",
            "--set",
            "workspace.spec.settings.Site_Name=Talk",
        )
        await kubernetes.helm("upgrade", *there, *changed, "--wait")
        status = await until_gateways(kubernetes, namespace, 3)
        assert status["state"] == "Ready"
        settings = await kubernetes.get("v1", "configmaps", namespace, "chat-settings")
        assert "Talk" in str(settings["data"])

        await kubernetes.helm("rollback", "chat", "1", "--namespace", namespace, "--wait", "--timeout=120s")

        async def is_back() -> bool:
            found = await kubernetes.get("v1", "configmaps", namespace, "chat-settings")
            return "Talk" not in str(found["data"])

        await kubernetes.until(is_back)
        assert "roles" not in (await get_palaver(kubernetes, namespace))["spec"]
        await kubernetes.helm("uninstall", "chat", "--namespace", namespace, "--wait")
        data = {"persistentvolumeclaim/data-chat-mongodb-0", "secret/chat-mongodb"}
        await until_gone(kubernetes, namespace, before, data)


async def until_gateways(kubernetes: Access, namespace: str, count: int) -> Object:
    async def look() -> Object | None:
        status: Object = (await get_palaver(kubernetes, namespace)).get("status") or {}
        gateway = (status.get("roles") or {}).get("gateway") or {}
        return status if gateway.get("ready") == count and status["state"] == "Ready" else None

    return await kubernetes.until(look, 120)


async def test_with_rights_in_its_namespace_alone_and_nothing_stays(kubernetes: ControlPlane, namespace: str) -> None:
    before = await list_all(kubernetes, namespace)
    await kubernetes.helm("install", "chat", str(CHART), "--namespace", namespace, *SINGLE, "--wait")
    account = await kubernetes.service_account(namespace, "chat-operator")
    with pytest.raises(CommandFailed, match="cannot list"):
        await kubernetes.kubectl("get", "palavers", "--all-namespaces", kubeconfig=account)
    async with operator_of(kubernetes, namespace):
        assert (await until_state(kubernetes, namespace, "Ready"))["ready"] == "1/1"
        await kubernetes.helm("uninstall", "chat", "--namespace", namespace, "--wait")
        await until_gone(kubernetes, namespace, before)


async def test_an_operator_of_all_namespaces_leaves_none_alone_without_a_word(
    kubernetes: ControlPlane, namespace: str
) -> None:
    there = ("chat", str(CHART), "--namespace", namespace, *SINGLE)
    await kubernetes.helm("install", *there, "--set", "operator.clusterWide=true", "--wait")
    async with kubernetes.namespace() as other:
        alone = ("elsewhere", str(CHART), "--namespace", other, *SINGLE, "--set", "operator.create=false")
        await kubernetes.helm("install", *alone)
        async with operator_of(kubernetes, namespace):

            async def is_looked_after() -> bool:
                found = await kubernetes.get("palaver.chat/v1alpha1", "palavers", other, "elsewhere")
                return bool((found.get("status") or {}).get("state") == "Ready")

            await kubernetes.until(is_looked_after, 120)
            with pytest.raises(CommandFailed, match=f"looks after elsewhere in namespace {other}"):
                await kubernetes.helm("upgrade", *there)
            await kubernetes.helm("uninstall", "elsewhere", "--namespace", other, "--wait")
            await kubernetes.helm("upgrade", *there, "--set", f"operator.namespaces={{{namespace}}}", "--wait")
        assert f"{namespace}-chat-operator" not in await kubernetes.kubectl("get", "clusterroles", "-o", "name")


async def test_kinds_that_the_cluster_lacks_are_told_and_the_rest_is_made(
    kubernetes: ControlPlane, namespace: str
) -> None:
    asked = [
        option
        for name in ("serviceMonitor", "rules", "dashboards")
        for option in ("--set", f"workspace.spec.monitoring.{name}=true")
    ]
    await kubernetes.helm("install", "chat", str(CHART), "--namespace", namespace, *SINGLE, *asked, "--wait")
    async with operator_of(kubernetes, namespace):
        status = await until_state(kubernetes, namespace, "KindMissing")
        conditions = {one["type"]: one for one in status["conditions"]}
        assert "of monitoring.coreos.com/v1" in conditions["Degraded"]["message"]

        async def is_available() -> bool:
            found = (await get_palaver(kubernetes, namespace))["status"]["conditions"]
            return any(one["type"] == "Available" and one["status"] == "True" for one in found)

        await kubernetes.until(is_available, 60)
        dashboards = await kubernetes.list_objects("v1", "configmaps", namespace, "grafana_dashboard=1")
        assert len(dashboards) == 5


async def test_the_api_server_refuses_a_palaver_that_makes_no_sense(kubernetes: ControlPlane, namespace: str) -> None:
    """What the schema of the values can't tell, the rules of the definition do, with a sentence."""
    wrong = ("--set", "workspace.spec.size=single", "--set", "workspace.spec.mongodb.secretName=x")
    with pytest.raises(CommandFailed, match="size single keeps everything in its own volume"):
        await kubernetes.helm("install", "chat", str(CHART), "--namespace", namespace, *HOSTNAME, *wrong)
