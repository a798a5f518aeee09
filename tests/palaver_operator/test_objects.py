"""What is made for a workspace: the contracts that others rely on, and what no pod may lack."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from palaver.config import Config
from palaver_operator.objects import Surroundings, build, list_named_values
from palaver_operator.objects.jobs import build_migration
from palaver_operator.objects.network import list_ports
from palaver_operator.objects.pods import environment
from palaver_operator.resource import Workspace
from palaver_operator.roles import ROLES, list_callers
from palaver_operator.spec import SecretKey
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERYTHING: dict[str, Any] = {
    "objectStorage": {"endpoint": "https://s3.example.org:9000", "bucket": "b", "secretName": "s", "prefix": "p/"},
    "settings": {"Site_Name": "Talk", "Accounts_RegistrationForm": "Disabled", "Count": 3, "On": True},
    "tls": {"secretName": "chat-tls"},
    "image": {"repository": "r/palaver", "pullSecrets": ["pull"]},
    "monitoring": {"serviceMonitor": True},
    "outbound": {"allowed": ["10.1.0.0/16", "*.example.org"]},
}


def made(found: Workspace, **surroundings: Any) -> dict[tuple[str, str], dict[str, Any]]:
    built = build(found, Surroundings(secrets={}, now=NOW, **surroundings))
    objects = [*built.passwords, *built.others]
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(by_name) == len(objects)
    return by_name


def workloads(found: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for (kind, _), one in found.items() if kind in ("Deployment", "StatefulSet")]


def pods(found: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["spec"]["template"] for one in workloads(found)]


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
def test_every_process_understands_its_environment(base: dict[str, Any]) -> None:
    """Each variable is one that Palaver knows, in a form that it takes."""
    for template in pods(made(workspace(base, **EVERYTHING))):
        container = template["spec"]["containers"][0]
        if container["command"] != ["palaver"] if "command" in container else True:
            continue
        values = {
            "PALAVER_MONGODB_URL": "mongodb://m",
            "PALAVER_NATS_URL": "nats://n:4222",
            "PALAVER_S3_ACCESS_KEY": "k",
        }
        environment = {
            entry["name"]: entry.get("value") or values.get(entry["name"], "x") for entry in container["env"]
        }
        environment.pop("PALAVER_SETTINGS_FILE", None)
        config = Config.from_environment(environment)
        assert config.health_port == 9090
        assert config.site_url == "https://chat.example.org"
        assert len(environment) >= len(container["env"]) - 1, "no variable twice"


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
def test_no_pod_has_more_rights_than_it_needs(base: dict[str, Any]) -> None:
    found = workspace(base, **EVERYTHING)
    for template in [*pods(made(found)), build_migration(found)["spec"]["template"]]:
        spec = template["spec"]
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert {volume["name"] for volume in spec["volumes"]} <= mounted


def test_what_serves_is_spread_probed_budgeted_and_stops_in_order() -> None:
    found = made(workspace(drain={"seconds": 40, "noticeSeconds": 12}))
    for one in workloads(found):
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        spec = one["spec"]["template"]["spec"]
        container = spec["containers"][0]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
        if component == "mongodb":
            continue
        assert ("PodDisruptionBudget", one["metadata"]["name"]) in found
        assert {entry["topologyKey"] for entry in spec["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
        assert spec["affinity"]["podAntiAffinity"]
        if component in ROLES:
            assert spec["terminationGracePeriodSeconds"] == 12 + 2 * 40 + 5


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
def test_all_pods_run_where_the_resource_wants_them_and_bear_what_it_says(base: dict[str, Any]) -> None:
    found = workspace(
        base,
        pods={
            "nodeSelector": {"pool": "chat"},
            "tolerations": [{"key": "pool", "operator": "Exists"}],
            "priorityClassName": "high",
            "labels": {"team": "t", "app.kubernetes.io/instance": "other"},
            "annotations": {"mesh": "off"},
        },
    )
    for template in [*pods(made(found)), build_migration(found)["spec"]["template"]]:
        spec, metadata = template["spec"], template["metadata"]
        assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"pool": "chat"}, "high")
        assert spec["tolerations"] == [{"key": "pool", "operator": "Exists"}]
        assert metadata["labels"]["team"] == "t"
        assert metadata["labels"]["app.kubernetes.io/instance"] == "chat", "what finds the pods stays"
        assert metadata["annotations"]["mesh"] == "off"


def test_names_that_others_rely_on() -> None:
    found = made(workspace())
    for role in ROLES:
        assert ("Deployment", f"chat-{role}") in found
        assert ("Secret", f"chat-grpc-{role}") in found
        if list_callers(role):
            service = found["Service", f"chat-{role}-grpc"]
            assert service["spec"]["clusterIP"] == "None"
            assert service["spec"]["ports"][0]["port"] == 7000
    public = found["Service", "chat-gateway"]
    assert public["spec"]["ports"][0]["port"] == 80
    assert public["spec"]["ports"][0]["targetPort"] == 3000
    assert ("StatefulSet", "chat-nats") in found
    assert ("StatefulSet", "chat-mongodb") in found
    for one in found.values():
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "palaver"
        assert labels["app.kubernetes.io/instance"] == "chat"
        assert labels["app.kubernetes.io/managed-by"] == "palaver-operator"


def test_a_single_pod_has_a_volume_and_needs_nobody() -> None:
    found = made(workspace(SINGLE, storage={"size": "5Gi", "storageClassName": "fast"}))
    assert [one["metadata"]["name"] for one in workloads(found)] == ["chat-single"]
    stateful = found["StatefulSet", "chat-single"]
    claim = stateful["spec"]["volumeClaimTemplates"][0]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    assert stateful["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert found["Service", "chat-gateway"]["spec"]["selector"]["app.kubernetes.io/component"] == "single"


def test_network_policies_have_exactly_the_paths_that_exist() -> None:
    found = made(workspace(), operator_namespace="palaver-system")
    assert found["NetworkPolicy", "chat-default"]["spec"]["ingress"] == []

    def callers(name: str, port: int) -> set[str]:
        policy = found["NetworkPolicy", f"chat-{name}"]["spec"]
        return {
            value
            for rule in policy["ingress"]
            if {"port": port, "protocol": "TCP"} in rule["ports"]
            for who in rule.get("from", ())
            for expression in who["podSelector"].get("matchExpressions", ())
            for value in expression["values"]
        }

    for role in ROLES:
        assert callers(role, 7000) == set(list_callers(role))
    assert callers("nats", 4222) == set(ROLES)
    assert callers("nats", 6222) == {"nats"}
    assert callers("mongodb", 27017) == {*ROLES, "migrate", "backup"}
    gateway = found["NetworkPolicy", "chat-gateway"]["spec"]["ingress"]
    assert {"ports": [{"port": 3000, "protocol": "TCP"}]} in gateway
    assert "palaver-system" in str(gateway)


@pytest.mark.parametrize(("base", "fetchers"), [(CLUSTER, {"messaging", "gateway"}), (SINGLE, {"single"})])
def test_only_who_fetches_for_users_gets_out_and_to_what_is_public(base: dict[str, Any], fetchers: set[str]) -> None:
    def ways(**spec: Any) -> dict[str, list[str]]:
        found = {
            name: one["spec"]["egress"]
            for (kind, name), one in made(workspace(base, **spec)).items()
            if kind == "NetworkPolicy"
        }
        blocks = {
            name: [peer["ipBlock"] for rule in rules for peer in rule.get("to", ()) if "ipBlock" in peer]
            for name, rules in found.items()
        }
        return {
            name.removeprefix("chat-"): [block["cidr"] for block in there] for name, there in blocks.items() if there
        }

    public = ["0.0.0.0/0", "::/0"]
    assert ways() == dict.fromkeys(fetchers, public)
    allowed = {"allowed": ["10.1.2.3", "fd00::/8", "ci.internal"]}
    assert ways(outbound=allowed) == {name: [*public, "10.1.2.3/32", "fd00::/8"] for name in fetchers}
    assert ways(outbound={"enabled": False}) == {}


@pytest.mark.parametrize(
    ("route", "proxies"),
    [({}, "1"), ({"kind": "None"}, "0"), ({"trustedProxies": 3}, "3"), ({"trustedProxies": 0}, "0")],
)
@pytest.mark.parametrize(("base", "component"), [(CLUSTER, "gateway"), (SINGLE, "single")])
def test_clients_are_known_behind_the_proxies_that_there_are(
    route: dict[str, Any], proxies: str, base: dict[str, Any], component: str
) -> None:
    variables = environment(workspace(base, route=route), component)
    assert {"name": "PALAVER_TRUSTED_PROXIES", "value": proxies} in variables


def test_servers_outside_are_reached_at_their_ports() -> None:
    assert list_ports("mongodb://u:p@a:27018,b:27019,c/?x=y") == (27017, 27018, 27019)
    assert list_ports("mongodb+srv://u:p@cluster.example.org") == ()
    assert list_ports("nats://u:p@a:4223,nats://b") == (4222, 4223)
    assert list_ports("https://s3.example.org") == (443,)
    found = workspace(mongodb={"secretName": "m"}, nats={"secretName": "n"})
    assert list_named_values(found) == (SecretKey("m", "url"), SecretKey("n", "url"))
    known = {"m": {"url": "mongodb://a:5"}, "n": {"url": "nats://a:6"}}
    built = build(found, Surroundings(secrets=known, now=NOW))
    policy = next(
        one for one in built.others if one["metadata"]["name"] == "chat-messaging" and one["kind"] == "NetworkPolicy"
    )
    assert {"ports": [{"port": 5, "protocol": "TCP"}]} in policy["spec"]["egress"]
    assert {"ports": [{"port": 6, "protocol": "TCP"}]} in policy["spec"]["egress"]


def test_all_values_that_pods_need_of_secrets_are_looked_for() -> None:
    storage = {"endpoint": "https://s3", "bucket": "b", "secretName": "s"}
    found = workspace(objectStorage=storage, admin={"secretName": "a"}, backup={"to": {"objectStorage": storage}})
    keys = [("s", "accessKey"), ("s", "secretKey"), ("a", "username"), ("a", "password")]
    assert [(one.secret, one.key) for one in list_named_values(found)] == keys
    assert list_named_values(workspace()) == ()


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
def test_processes_start_anew_for_keys_that_were_changed(base: dict[str, Any]) -> None:
    def digests(found: Workspace, key: str) -> set[str]:
        known = {"s": {"accessKey": key, "secretKey": "x"}, "m": {"url": "mongodb://m"}, "n": {"url": "nats://n"}}
        built = build(found, Surroundings(secrets=known, now=NOW)).others
        pods = [one["spec"]["template"]["metadata"] for one in built if one["kind"] in ("Deployment", "StatefulSet")]
        return {pod["annotations"]["palaver.chat/secrets"] for pod in pods}

    servers = {"mongodb": {"secretName": "m"}, "nats": {"secretName": "n"}} if base is CLUSTER else {}
    without = workspace(base, **servers)
    stored = workspace(base, objectStorage={"endpoint": "https://s3", "bucket": "b", "secretName": "s"}, **servers)
    assert not digests(stored, "a") & digests(stored, "b")
    assert digests(without, "a") == digests(without, "b")


def test_passwords_that_exist_stay() -> None:
    found = workspace()
    first = build(found, Surroundings(secrets={}, now=NOW))
    values = {
        one["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
        for one in [*first.passwords, *first.others]
        if one["kind"] == "Secret"
    }
    assert len(values["chat-admin"]["password"]) >= 24
    again = build(found, Surroundings(secrets=values, now=NOW))
    assert again == first
    del values["chat-nats"]["url"]
    assert build(found, Surroundings(secrets=values, now=NOW)) == first


def test_routes_leave_websockets_time() -> None:
    ingress = made(workspace(tls={"secretName": "t"}, route={"className": "nginx", "annotations": {"a": "b"}}))[
        "Ingress", "chat"
    ]
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"
    assert ingress["metadata"]["annotations"]["a"] == "b"
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["chat.example.org"], "secretName": "t"}]
    route = made(workspace(route={"kind": "HTTPRoute", "gateway": {"name": "public", "namespace": "edge"}}))[
        "HTTPRoute", "chat"
    ]
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "edge"}]
    assert route["spec"]["rules"][0]["timeouts"]["request"] == "0s"
    assert not [kind for kind, _ in made(workspace(route={"kind": "None"})) if kind in ("Ingress", "HTTPRoute")]
