"""Palavers to build from."""

import copy
from typing import Any

from palaver_operator.resource import Workspace, parse

CLUSTER: dict[str, Any] = {
    "apiVersion": "palaver.chat/v1alpha1",
    "kind": "Palaver",
    "metadata": {"name": "chat", "namespace": "talk", "uid": "u-1", "generation": 1},
    "spec": {
        "version": "1.4.0",
        "hostname": "chat.example.org",
        "mongodb": {"trial": {}},
        "rollout": {"soakSeconds": 0},
    },
}
SINGLE: dict[str, Any] = {
    **CLUSTER,
    "spec": {
        "version": "1.4.0",
        "hostname": "chat.example.org",
        "size": "single",
        "rollout": {"soakSeconds": 0},
    },
}


def palaver(base: dict[str, Any] = CLUSTER, **spec: Any) -> dict[str, Any]:
    """A resource with these fields of its spec changed; None takes one away."""
    body = copy.deepcopy(base)
    body["spec"] = {name: value for name, value in {**body["spec"], **spec}.items() if value is not None}
    return body


def workspace(base: dict[str, Any] = CLUSTER, **spec: Any) -> Workspace:
    return parse(palaver(base, **spec))
