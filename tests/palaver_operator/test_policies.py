"""The NetworkPolicies open exactly the paths that exist. Which those are is read from what the pods themselves are
told: each address of a Service or of a server outside that stands in their variables, or in the files that they mount.
"""

import itertools
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.backup import build_backup, build_scheduled
from palaver_operator.objects.jobs import build_migration
from palaver_operator.objects.restore import build_restore
from palaver_operator.objects.secrets import values_of
from palaver_operator.resource import Identity, Workspace, parse_backup
from tests.palaver_operator.policies import End, Object, is_open
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMESPACE = "talk"
LABEL = "app.kubernetes.io/{}".format
NOBODY_LISTENS = 9999
JOBS_OF_ARCHIVES = ("nightly", "move", "restore")
Path = tuple[str, str, int]


def stored(address: str, port: int) -> Object:
    return {"objectStorage": {"endpoint": f"http://{address}:{port}", "bucket": "b", "secretName": "s"}}


UPLOADS, NIGHTLY, MOVE, ARCHIVE = (stored("10.20.0.5", port) for port in (9000, 9001, 9002, 9003))
FULL: dict[str, Any] = {
    "objectStorage": UPLOADS["objectStorage"],
    "backup": {"to": NIGHTLY},
    "restore": {"from": ARCHIVE},
    "monitoring": {"serviceMonitor": True},
    "settings": {"SMTP_Port": "2600"},
}
YOURS: dict[str, Any] = {"mongodb": {"secretName": "mongodb"}, "nats": {"secretName": "nats"}}
SECRETS = {"mongodb": {"url": "mongodb://u:p@10.20.0.8:27018"}, "nats": {"url": "tls://u:p@10.20.0.9:4333"}}

STORAGE = End("storage", "10.20.0.5", ports=dict.fromkeys((9000, 9001, 9002, 9003), ""))
MONGODB = End("your mongodb", "10.20.0.8", ports={27018: ""})
NATS = End("your nats", "10.20.0.9", ports={4333: ""})
MAIL = End("mail", "10.20.0.6", ports=dict.fromkeys((25, 465, 587, 2600), ""))
PUBLIC = End("public", "93.184.216.34", ports={22: "", 443: ""})
METADATA = End("metadata of the cloud", "169.254.169.254", ports={80: ""})
API_SERVER = End("API server", "10.96.0.1", ports={443: ""})
DNS = End("dns", "10.0.9.1", "kube-system", {"k8s-app": "kube-dns"}, {53: ""})
OPERATOR = End("operator", "10.0.9.2", "operators", {LABEL("name"): "palaver-operator"})
PROMETHEUS = End("prometheus", "10.0.9.3", "monitoring", {LABEL("name"): "prometheus"})
STRANGER = End("stranger", "10.0.9.4", NAMESPACE, {}, {8080: "http"})
FALSE_OPERATOR = End("false operator", "10.0.9.5", "elsewhere", {LABEL("name"): "palaver-operator"})
OTHERS = [
    End(f"other {role}", f"10.0.9.{10 + number}", NAMESPACE, labels, {7000: "grpc", 4222: "nats", 27017: "mongodb"})
    for number, role in enumerate(("gateway", "nats", "backup"))
    for labels in [{LABEL("name"): "palaver", LABEL("instance"): "chat2", LABEL("component"): role}]
]
AROUND = [STORAGE, MONGODB, NATS, MAIL, PUBLIC, METADATA, API_SERVER, DNS, OPERATOR, PROMETHEUS, STRANGER]
AROUND += [FALSE_OPERATOR, *OTHERS]


class Made:
    """All objects of a workspace, with the Jobs that work on it, and what its pods are."""

    def __init__(self, found: Workspace) -> None:
        self.spec = found.spec
        surroundings = Surroundings(secrets=SECRETS, now=NOW, operator_namespace=OPERATOR.namespace)
        built = build(found, surroundings)
        self.objects = [*built.passwords, *built.others, build_migration(found)]
        if (restore := build_restore(found)) is not None:
            self.objects.append(restore)
        if found.spec.backup is not None:
            self._back_up(found, "nightly", build_scheduled(found, NIGHTLY, "nightly")["spec"])
            self._back_up(found, "move", {"workspace": found.name, "to": MOVE})
        self.policies = [one for one in self.objects if one["kind"] == "NetworkPolicy"]
        self.templates = {
            self._name(one): one["spec"]["template"]
            for one in self.objects
            if one["kind"] in ("Deployment", "StatefulSet", "Job")
        }
        if found.is_single:
            del self.templates["migrate"]  # is not made for it
        self.pods = {
            name: End(name, f"10.0.1.{number}", NAMESPACE, template["metadata"]["labels"], _ports(template))
            for number, (name, template) in enumerate(self.templates.items())
        }

    def _back_up(self, found: Workspace, name: str, spec: Object) -> None:
        backup = Identity(name, NAMESPACE, name, 1)
        created = "2026-11-21T03:00:00Z"
        self.objects += build_backup(found, backup, parse_backup({"spec": spec}), created=created, keep=0)

    def _name(self, one: Object) -> str:
        """What it is: of a Job without what makes its name its own."""
        for owner in one["metadata"].get("ownerReferences", ()):
            return str(owner["name"])
        name = str(one["metadata"]["name"]).removeprefix("chat-")
        return re.sub(r"-[0-9a-f]{8,}$", "", name)

    def told(self, name: str) -> str:
        """Everything that a pod is told: its containers' variables, and the text of the files that it mounts."""
        spec = self.templates[name]["spec"]
        values = {
            (one["kind"], one["metadata"]["name"]): values_of(one) if one["kind"] == "Secret" else one.get("data", {})
            for one in self.objects
            if one["kind"] in ("Secret", "ConfigMap")
        } | {("Secret", name): known for name, known in SECRETS.items()}
        said = []
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            for entry in container["env"]:
                key = entry.get("valueFrom", {}).get("secretKeyRef", {"name": "", "key": ""})
                said.append(entry.get("value") or values.get(("Secret", key["name"]), {}).get(key["key"], ""))
        for volume in spec["volumes"]:
            said += values.get(("Secret", volume.get("secret", {}).get("secretName", "")), {}).values()
        return "\n".join(said)

    def services_in(self, text: str) -> Iterable[tuple[str, int]]:
        """The pods behind each Service's address in this text, and the ports at which they listen."""
        for host, port in set(re.findall(rf"([a-z0-9-]+)\.{NAMESPACE}\.svc:(\d+)", text)):
            yield from self.behind(host, int(port))

    def behind(self, service: str, port: int) -> Iterable[tuple[str, int]]:
        (spec,) = (o["spec"] for o in self.objects if (o["kind"], o["metadata"]["name"]) == ("Service", service))
        (target,) = (entry["targetPort"] for entry in spec["ports"] if entry["port"] == port)
        for name, pod in self.pods.items():
            if spec["selector"].items() <= pod.labels.items():
                for number, label in pod.ports.items():
                    if target in (number, label):
                        yield name, number

    def expected(self) -> set[Path]:
        """The paths that exist."""
        found = {(end.name, name, port) for end in AROUND for name, port in self.behind("chat-gateway", 80)}
        is_watched = self.spec.monitoring.service_monitor
        for name, pod in self.pods.items():
            text = self.told(name)
            if name in JOBS_OF_ARCHIVES and "restore" in self.pods:
                text += self.told("restore")  # they are one component
            found |= {(name, *there) for there in self.services_in(text)}
            for host, port in re.findall(r"([\d.]+):(\d+)", text):
                found |= {(name, end.name, int(port)) for end in AROUND if end.address == host}
            if "://" in text:
                found.add((name, "dns", 53))
            if name in ("messaging", "gateway", "single"):  # who fetch what users name
                found |= {(name, "public", port) for port in PUBLIC.ports}
            if name in ("auth", "messaging", "single"):  # who write letters
                own = [int(self.spec.settings["SMTP_Port"])] if "SMTP_Port" in self.spec.settings else []
                found |= {(name, "mail", port) for port in [25, 465, 587, *own]}
            for port in (number for number, label in pod.ports.items() if label == "health"):
                found |= {(who, name, port) for who in ["operator", *(["prometheus"] if is_watched else [])]}
        return found

    def opened(self, protocol: str = "TCP") -> set[Path]:
        """The paths that the policies let through, from and to the workspace's pods: among them another of the same."""
        ours = list(self.pods.values())
        ways = [*itertools.product(ours, [*ours, *AROUND]), *itertools.product(AROUND, ours)]
        return {
            (source.name, target.name, port)
            for source, target in ways
            for port in [*target.ports, NOBODY_LISTENS]
            if is_open(self.policies, source, target, port, protocol)
        }


def _ports(template: Object) -> dict[int, str]:
    return {
        port["containerPort"]: port["name"]
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    }


@pytest.mark.parametrize(
    ("base", "spec"),
    [(CLUSTER, {}), (CLUSTER, FULL), (CLUSTER, FULL | YOURS), (SINGLE, {}), (SINGLE, FULL)],
    ids=["cluster", "cluster with everything", "cluster with servers of yours", "single", "single with everything"],
)
def test_exactly_the_paths_that_exist_are_open(base: dict[str, Any], spec: dict[str, Any]) -> None:
    made = Made(workspace(base, **spec))
    # Fetchers may go to any port of what is public.
    public = {(name, "public", NOBODY_LISTENS) for name in ("messaging", "gateway", "single") if name in made.pods}
    assert made.opened() - public == made.expected()
    assert public <= made.opened()
    names = {path for path in made.expected() if path[1] == "dns"}
    assert made.opened("UDP") == names


def test_what_is_compared_are_the_paths_that_one_knows() -> None:
    """So that nothing is open, and nothing expected, is no success."""
    paths = Made(workspace(**FULL)).expected()
    assert {("nats", "nats", 6222), ("gateway", "nats", 4222), ("auth", "nats", 4222)} <= paths
    assert {("gateway", "auth", 7000), ("messaging", "presence", 7000), ("gateway", "mongodb", 27017)} <= paths
    assert {("migrate", "mongodb", 27017), ("nightly", "mongodb", 27017), ("restore", "mongodb", 27017)} <= paths
    assert {("nightly", "storage", 9001), ("move", "storage", 9002), ("restore", "storage", 9003)} <= paths
    assert {("operator", "auth", 9090), ("prometheus", "gateway", 9090), ("public", "gateway", 3000)} <= paths
    assert not {path for path in paths if path[1] == "nats" and path[2] == 8222}, "only its node asks how it is"
    assert not {path for path in paths if path[0] == "mongodb"}


def test_policies_mean_what_their_api_says() -> None:
    one, two = End("one", "10.0.0.1", "a", {"app": "x"}, {80: "http"}), End("two", "10.0.0.2", "b", {"app": "y"})

    def allows(rule: Object, direction: str = "Ingress", source: End = two, target: End = one) -> bool:
        end = target if direction == "Ingress" else source
        spec = {"podSelector": {}, "policyTypes": [direction], direction.lower(): [rule]}
        return is_open([{"metadata": {"namespace": end.namespace}, "spec": spec}], source, target, 80)

    assert is_open([], two, one, 80)
    assert allows({})
    assert allows({"ports": [{"port": "http"}]})
    assert not allows({"ports": [{"port": 81}]})
    assert allows({"ports": [{"port": 79, "endPort": 81}]})
    assert not allows({"ports": [{"protocol": "UDP"}]})
    assert not allows({"from": [{"podSelector": {}}]}), "of the policy's own namespace"
    assert allows({"from": [{"namespaceSelector": {}}]})
    in_b = {"matchLabels": {"kubernetes.io/metadata.name": "b"}}
    assert allows({"from": [{"namespaceSelector": in_b, "podSelector": {"matchLabels": {"app": "y"}}}]})
    assert not allows({"from": [{"namespaceSelector": in_b, "podSelector": {"matchLabels": {"app": "x"}}}]})
    assert allows({"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}, "Egress")
    assert not allows({"to": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.1/32"]}}]}, "Egress")
    exists = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["y"]}]}
    assert not allows({"from": [{"namespaceSelector": {}, "podSelector": exists}]})
