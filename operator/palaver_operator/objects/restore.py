"""How a workspace is made of an archive before it runs for the first time.

With MongoDB by a Job, before any role is made; a single pod does it by itself, in its volume, before it serves. Either
does nothing where there is a workspace already, and goes on where it ended before.
"""

from palaver_operator.objects.backup import COMPONENT, address_of, destination_environment, destination_volumes
from palaver_operator.objects.jobs import DAY_SECONDS, job, job_name, job_resources, job_template
from palaver_operator.objects.naming import Object
from palaver_operator.objects.pods import database_environment, palaver_container
from palaver_operator.resource import Workspace
from palaver_operator.spec import Restore


def build_restore(workspace: Workspace) -> Object | None:
    """The Job; None where there is nothing to restore, or a single pod does it."""
    restore = workspace.spec.restore
    if restore is None or workspace.is_single:
        return None
    volumes, mounts = destination_volumes(restore.source)
    template = job_template(workspace, COMPONENT, volumes, containers=[_container(workspace, restore, mounts)])
    name = job_name(workspace, "restore", restore)
    return job(workspace, name, COMPONENT, template, backoffLimit=4, activeDeadlineSeconds=DAY_SECONDS)


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
    return palaver_container(
        workspace,
        "restore",
        ["restore", address, "--if-empty", *([f"--workspace={restore.workspace}"] if restore.workspace else [])],
        environment=[*database_environment(workspace), *destination_environment(restore.source)],
        resources=job_resources("192Mi"),
        mounts=mounts,
        terminationMessagePolicy="FallbackToLogsOnError",
    )
