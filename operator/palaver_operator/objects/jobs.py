"""Work that is done once: bringing the database to a new version before that version rolls."""

import hashlib

import msgspec

from palaver_operator.objects.naming import Object, labels, make
from palaver_operator.objects.pods import (
    USER,
    container_security,
    database_environment,
    pod_basics,
    pod_security,
)
from palaver_operator.resource import Workspace

COMPONENT = "migrate"


def build_migration(workspace: Workspace) -> Object:
    """`palaver migrate` of the version that is wanted.

    What runs goes on meanwhile: migrations leave the version before at work.
    """
    container: Object = {
        "name": "palaver",
        "image": workspace.image,
        "imagePullPolicy": workspace.spec.image.pull_policy,
        "command": ["palaver"],
        "args": ["migrate"],
        "env": database_environment(workspace),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    template = {
        "metadata": {"labels": labels(workspace, COMPONENT, workspace.spec.version)},
        "spec": {
            **pod_basics(workspace),
            "restartPolicy": "Never",
            "securityContext": pod_security(USER),
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
    # Its name says what it is made from: a Job can't be changed, and what was done is not done again.
    digest = hashlib.sha256(msgspec.json.encode(template, order="sorted")).hexdigest()[:8]
    return make(
        workspace,
        "Job",
        f"{workspace.name}-migrate-{digest}",
        COMPONENT,
        api="batch/v1",
        version=workspace.spec.version,
        spec={"backoffLimit": 4, "activeDeadlineSeconds": 3600, "template": template},
    )
