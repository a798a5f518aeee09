"""Every field of a Palaver's spec changed once: whole lives of workspaces, and what can't be changed.

test_spec_changes.py compares it with the definition, so that no field is forgotten; tests/kubernetes lives it on a real
API server.
"""

from dataclasses import dataclass
from typing import Any

Part = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """A merge patch of the spec, and the state in which the workspace then comes to rest."""

    spec: Part
    state: str = "Ready"


@dataclass(frozen=True)
class Life:
    """A workspace, and what is changed of it, one after the other."""

    name: str
    begun: Part
    changes: tuple[Change, ...]


NAMED = {
    "mine": {"url": "nats://nats.example.org", "accessKey": "a", "secretKey": "s", "username": "u", "password": "p"},
    "other": {"address": "mongodb://mongodb.example.org", "nats": "nats://other.example.org"},
}
"""The Secrets that the changes name, with their values."""

_RESOURCES = {"requests": {"memory": "100Mi"}, "limits": {"memory": "2Gi", "cpu": 1}}
_TARGETS = {
    "connections": 5000,
    "loopLagMilliseconds": 50.5,
    "cpuPercent": 60,
    "queueSeconds": 2.5,
    "followerSeconds": 20,
    "reportsPerSecond": 4000,
}
_ROLES = ("gateway", "auth", "messaging", "presence")
_STORAGE = {
    "endpoint": "https://s3.example.org",
    "bucket": "b",
    "secretName": "mine",
    "region": "eu-central-1",
    "prefix": "talk/",
}
_QUICK = {"drain": {"seconds": 1, "noticeSeconds": 0}, "rollout": {"soakSeconds": 0}}
_VOLUME = {"claimName": "archives", "path": "talk"}

_CLUSTER = {
    "version": "0.1.0",
    "hostname": "chat.example.org",
    "mongodb": {"trial": {"storage": "1Gi"}},
    "nats": {"managed": {"replicas": 1, "storage": "1Gi"}},
    **_QUICK,
}
_SINGLE = {"version": "0.1.0", "hostname": "chat.example.org", "size": "single", **_QUICK}

LIVES = (
    Life(
        "a new version and new pods",
        {**_CLUSTER, "version": "0.0.9"},
        (
            Change(
                {
                    "version": "0.1.0",
                    "image": {"repository": "other", "tag": "0.1.0-x", "pullPolicy": "Always", "pullSecrets": ["mine"]},
                    "hostname": "other.example.org",
                    "tls": {"secretName": "mine"},
                    "route": {"className": "nginx", "annotations": {"a": "b"}, "trustedProxies": 2},
                    "drain": {"seconds": 2, "noticeSeconds": 1},
                    "nats": {"managed": {"image": "nats:2.12", "resources": _RESOURCES}},
                    "mongodb": {"trial": {"image": "mongo:9", "resources": _RESOURCES}},
                    "pods": {
                        "nodeSelector": {"kubernetes.io/os": "linux"},
                        "tolerations": [
                            {"key": "pool", "value": "chat", "effect": "NoExecute", "tolerationSeconds": 5},
                            {"key": "spot", "operator": "Exists"},
                        ],
                        "priorityClassName": "system-cluster-critical",
                        "labels": {"team": "t"},
                        "annotations": {"mesh": "off"},
                    },
                    "outbound": {"allowed": ["10.1.0.0/16", "ci.internal"]},
                    "objectStorage": _STORAGE,
                    "admin": {"secretName": "mine"},
                    "dataPolicy": "Delete",
                }
            ),
        ),
    ),
    Life(
        "a NATS of yours, sizes, and what is around it",
        {**_CLUSTER, "tls": {}, "objectStorage": _STORAGE},
        (
            Change(
                {
                    "expectedUsers": 30000,
                    "scaling": {"enabled": False, "downStabilizationSeconds": 60},
                    "roles": {
                        role: {"min": 1, "max": 1, "resources": _RESOURCES, "targets": _TARGETS} for role in _ROLES
                    },
                    "settings": {"Site_Name": "Talk", "FileUpload_MaxFileSize": 5, "FileUpload_Enabled": False},
                    "nats": {"managed": None, "secretName": "other", "key": "nats", "replicas": 1},
                    "objectStorage": None,
                    "tls": None,
                    "route": {"kind": "HTTPRoute", "gateway": {"name": "shared", "namespace": "gateways"}},
                    "monitoring": {
                        "serviceMonitor": True,
                        "rules": True,
                        "dashboards": True,
                        "runbookUrl": "https://wiki.example.org/runbooks/",
                        "labels": {"release": "prometheus"},
                    },
                    "backup": {
                        "to": {"objectStorage": _STORAGE},
                        "schedule": "@yearly",
                        "keep": 3,
                        "scratch": {"size": "50Gi", "storageClassName": "fast"},
                        "resources": _RESOURCES,
                    },
                    "restore": {
                        "from": {"objectStorage": _STORAGE},
                        "archive": "20260101T000000Z",
                        "workspace": "talk",
                    },
                    "rollout": {"soakSeconds": 1},
                    "outbound": {"enabled": False},
                }
            ),
        ),
    ),
    Life(
        "a pause",
        {
            **_CLUSTER,
            "backup": {"to": {"objectStorage": _STORAGE}},
            "restore": {"from": {"objectStorage": _STORAGE}},
        },
        (
            Change(
                {
                    "route": {"kind": "None"},
                    "backup": {"to": {"objectStorage": None, "volume": _VOLUME}},
                    "restore": {"from": {"objectStorage": None, "volume": _VOLUME}},
                    "paused": True,
                },
                "Paused",
            ),
            Change({"paused": False}),
        ),
    ),
    Life(
        "a database of yours",
        {"version": "0.1.0", "hostname": "chat.example.org", "mongodb": {"secretName": "mine"}, **_QUICK},
        (Change({"mongodb": {"secretName": "other", "key": "address"}}),),
    ),
    Life(
        "all in one pod",
        _SINGLE,
        (Change({"resources": _RESOURCES}),),
    ),
)

FIXED: tuple[tuple[Part, Part, str], ...] = (
    (_CLUSTER, {"size": "single", "mongodb": None, "nats": None}, "size can't be changed"),
    (_CLUSTER, {"mongodb": {"trial": None, "secretName": "m"}}, "don't know of each other"),
    (_CLUSTER, {"mongodb": {"trial": {"storage": "2Gi"}}}, "grow its PersistentVolumeClaim"),
    (_CLUSTER, {"mongodb": {"trial": {"storage": None}}}, "grow its PersistentVolumeClaim"),
    (_CLUSTER, {"mongodb": {"trial": {"storageClassName": "fast"}}}, "grow its PersistentVolumeClaim"),
    (_CLUSTER, {"nats": {"managed": {"storage": "2Gi"}}}, "grow their PersistentVolumeClaims"),
    (_CLUSTER, {"nats": {"managed": {"storage": None}}}, "grow their PersistentVolumeClaims"),
    (_CLUSTER, {"nats": {"managed": {"storageClassName": "fast"}}}, "grow their PersistentVolumeClaims"),
    (_CLUSTER, {"nats": None}, "grow their PersistentVolumeClaims"),
    (_CLUSTER, {"nats": {"managed": {"replicas": 3}}}, "replicas can't be changed"),
    (_CLUSTER, {"nats": {"managed": {"replicas": None}}}, "replicas can't be changed"),
    (_CLUSTER, {"federation": {"enabled": True}}, "has none yet"),
    (_SINGLE, {"storage": {"size": "2Gi"}}, "grow its PersistentVolumeClaim"),
    (_SINGLE, {"storage": {"storageClassName": "fast"}}, "grow its PersistentVolumeClaim"),
)
"""A workspace, a change that is refused, and the words that say so."""


def merge(before: Part, patch: Part) -> Part:
    """What a merge patch makes of it."""
    after = dict(before)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, dict):
            kept = after.get(name)
            after[name] = merge(kept if isinstance(kept, dict) else {}, value)
        else:
            after[name] = value
    return after
