"""How a workspace is made of an archive before it runs for the first time.

With MongoDB by a Job, before any role is made; a single pod does it by itself, in its volume, before it serves. Either
does nothing where there is a workspace already, and goes on where it ended before.
"""

import hashlib

import msgspec

from palaver_operator.objects.backup import COMPONENT, address_of, destination_environment, destination_volumes
from palaver_operator.objects.naming import Object, labels, make
from palaver_operator.objects.pods import USER, container_security, database_environment, pod_basics, pod_security
from palaver_operator.resource import Restore, Workspace

_DAY_SECONDS = 24 * 3600


def build_restore(workspace: Workspace) -> Object | None:
    """The Job; None where there is nothing to restore, or a single pod does it."""
    restore = workspace.spec.restore
    if restore is None or workspace.is_single:
        return None
    volumes, mounts = destination_volumes(restore.source)
    pod = {
        **pod_basics(workspace),
        "restartPolicy": "Never",
        "securityContext": pod_security(USER),
        "containers": [_container(workspace, restore, mounts)],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
    }
    template = {"metadata": {"labels": labels(workspace, COMPONENT, workspace.spec.version)}, "spec": pod}
    digest = hashlib.sha256(msgspec.json.encode(restore, order="sorted")).hexdigest()[:8]
    return make(
        workspace,
        "Job",
        f"{workspace.name}-restore-{digest}",
        COMPONENT,
        api="batch/v1",
        version=workspace.spec.version,
        spec={"backoffLimit": 4, "activeDeadlineSeconds": _DAY_SECONDS, "template": template},
    )


def add_restore(workspace: Workspace, template: Object) -> Object:
    """The template of a single pod, which restores before it serves if it is to."""
    restore = workspace.spec.restore
    if restore is None:
        return template
    volumes, mounts = destination_volumes(restore.source)
    container = _container(workspace, restore, [{"name": "data", "mountPath": "/data"}, *mounts])
    container["env"].append({"name": "PALAVER_DATA_DIR", "value": "/data"})
    pod = template["spec"]
    return template | {"spec": pod | {"initContainers": [container], "volumes": [*pod["volumes"], *volumes]}}


def _container(workspace: Workspace, restore: Restore, mounts: list[Object]) -> Object:
    address = address_of(restore.source) + (f"/{restore.archive}" if restore.archive else "")
    return {
        "name": "restore",
        "image": workspace.image,
        "imagePullPolicy": workspace.spec.image.pull_policy,
        "command": ["palaver"],
        "args": ["restore", address, "--if-empty"],
        "env": [*database_environment(workspace), *destination_environment(restore.source)],
        "resources": {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],
    }
