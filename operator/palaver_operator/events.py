"""Kubernetes Events about a workspace: what has happened, for `kubectl describe` and `kubectl events`. Pure."""

from datetime import datetime

from palaver_operator.objects.naming import MANAGER, Object
from palaver_operator.resource import API_VERSION, Identity

_LONGEST_NOTE = 1000


def build_event(workspace: Identity, instance: str, reason: str, note: str, now: datetime, *, warning: bool) -> Object:
    """`instance`: which operator says so; `reason`: one word; `note`: a sentence."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{workspace.name}-", "namespace": workspace.namespace},
        "eventTime": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
        "reportingController": f"palaver.chat/{MANAGER}",
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": reason,
        "type": "Warning" if warning else "Normal",
        "note": note[:_LONGEST_NOTE],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "Palaver",
            "name": workspace.name,
            "namespace": workspace.namespace,
            "uid": workspace.uid,
        },
    }
