"""What stands around a workspace on a real node, in pods: names by CoreDNS, a MongoDB wire server, NATS."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.kubernetes.access import Object
from tests.kubernetes.real.images import COREDNS, MONGODB, NATS
from tests.kubernetes.real.node import DNS_ADDRESS, DNS_DOMAIN

MONGODB_PORT = 27017
NATS_PORT = 4222


def dns() -> list[Object]:
    """CoreDNS at the address that the kubelet tells every pod."""
    name = {"name": "dns", "namespace": "kube-system"}
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    # Answers are old as soon as a pod has gone: nobody is to keep them.
    corefile = f".:5353 {{\n  errors\n  ready\n  kubernetes {DNS_DOMAIN} in-addr.arpa {{\n    ttl 1\n  }}\n}}\n"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "dns"}
    deployment = _deployment(
        "kube-system",
        "dns",
        {
            "image": COREDNS,
            "args": ["-conf", "/etc/coredns/Corefile"],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
            "volumeMounts": [{"name": "configuration", "mountPath": "/etc/coredns"}],
        },
        serviceAccountName="dns",
        dnsPolicy="Default",
        volumes=[{"name": "configuration", "configMap": {"name": "dns"}}],
    )
    port = {"port": 53, "targetPort": 5353}
    ports = [{"name": "udp", "protocol": "UDP", **port}, {"name": "tcp", "protocol": "TCP", **port}]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name},
        {"apiVersion": role["apiGroup"] + "/v1", "kind": "ClusterRole", "metadata": {"name": "dns"}, "rules": rules},
        {
            "apiVersion": role["apiGroup"] + "/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "dns"},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **name}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"Corefile": corefile}},
        deployment,
        _service("kube-system", "dns", ports, clusterIP=DNS_ADDRESS),
    ]


def mongodb(namespace: str) -> list[Object]:
    """An empty MongoDB at `mongodb:27017`; what is in it goes with its pod."""
    container = {"image": MONGODB, "stdin": True, "readinessProbe": _listens(MONGODB_PORT)}  # it ends with its input
    return [
        _deployment(namespace, "mongodb", container),
        _service(namespace, "mongodb", [{"port": MONGODB_PORT}]),
    ]


def nats(namespace: str) -> list[Object]:
    """NATS with JetStream at `nats:4222`; what is in it goes with its pod."""
    container = {
        "image": NATS,
        "args": ["--jetstream", "--store_dir", "/data"],
        "readinessProbe": _listens(NATS_PORT),
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return [
        _deployment(namespace, "nats", container, volumes=[{"name": "data", "emptyDir": {}}]),
        _service(namespace, "nats", [{"port": NATS_PORT}]),
    ]


def _listens(port: int) -> Object:
    return {"tcpSocket": {"port": port}, "periodSeconds": 1}


def _deployment(namespace: str, name: str, container: Mapping[str, Any], **pod: Any) -> Object:
    labels = {"app": name}
    # The tests' own images are under no such restriction as Palaver's; but nothing here needs to be root.
    own = {
        "name": name,
        "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": False},
        "resources": {"requests": {"cpu": "200m"}},  # who asks for nothing gets nothing of a busy machine
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{**own, **container}], "securityContext": security, **pod},
            },
        },
    }


def _service(namespace: str, name: str, ports: Sequence[Mapping[str, Any]], **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": list(ports), **spec},
    }
