"""Work that is done once, by Jobs; among it bringing the database to a new version before that version rolls."""

import hashlib
from typing import Any

import msgspec

from palaver_operator.objects.naming import Object, make
from palaver_operator.objects.pods import (
    TMP,
    USER,
    database_environment,
    palaver_container,
    pod_basics,
    pod_metadata,
    pod_security,
)
from palaver_operator.resource import Workspace

COMPONENT = "migrate"
DAY_SECONDS = 24 * 3600


def job(workspace: Workspace, name: str, component: str, template: Object, **limits: int) -> Object:
    """A Job of this template. `limits`: how often and for how long it is tried, by the names of a Job's fields."""
    version = workspace.spec.version
    spec = {"template": template, **limits}
    return make(workspace, "Job", name, component, api="batch/v1", version=version, spec=spec)


def job_template(
    workspace: Workspace, component: str, volumes: list[Object], *, scratch: Object = TMP, **pod: Any
) -> Object:
    """The pod of a Job that works with Palaver's image. `scratch`: the volume of its /tmp; `volumes`: beside that;
    `pod`: its containers, and what else.
    """
    return {
        "metadata": pod_metadata(workspace, component, version=workspace.spec.version),
        "spec": {
            **pod_basics(workspace),
            "restartPolicy": "Never",
            "securityContext": pod_security(USER),
            "volumes": [scratch, *volumes],
            **pod,
        },
    }


def job_resources(memory: str) -> Object:
    """What such a container asks for."""
    return {"requests": {"cpu": "100m", "memory": memory}, "limits": {"memory": "512Mi"}}


def job_name(workspace: Workspace, component: str, made_from: object) -> str:
    """A name that says what a Job is made from, as it can't be changed, and what was done is not done again.

    Whoever wants it done again gives the resource another `retry`.
    """
    parts = [made_from, workspace.retry] if workspace.retry else made_from
    return f"{workspace.name}-{component}-{hashlib.sha256(msgspec.json.encode(parts, order='sorted')).hexdigest()[:8]}"


def build_migration(workspace: Workspace) -> Object:
    """`palaver migrate` of the version that is wanted.

    What runs goes on meanwhile: migrations leave the version before at work.
    """
    container = palaver_container(
        workspace,
        "palaver",
        ["migrate"],
        environment=database_environment(workspace),
        resources=job_resources("128Mi"),
        mounts=[],
    )
    template = job_template(workspace, COMPONENT, [], containers=[container])
    name = job_name(workspace, COMPONENT, template)
    return job(workspace, name, COMPONENT, template, backoffLimit=4, activeDeadlineSeconds=3600)
