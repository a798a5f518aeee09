"""What a PalaverBackup becomes: a Job that makes the archive, then restores it into a scratch database and counts; and
its way to the storage.

The first container is an init container, so that the phase can be seen from outside. Both write what they have done to
where Kubernetes keeps a container's last words. Run again, they find what is whole already, and leave it.
"""

import hashlib

from palaver_operator.objects.naming import Object, component_name, labels, make, selector
from palaver_operator.objects.network import list_ports
from palaver_operator.objects.pods import (
    USER,
    container_security,
    database_environment,
    from_secret,
    pod_basics,
    pod_security,
)
from palaver_operator.resource import (
    API_VERSION,
    BackupSpec,
    Destination,
    Identity,
    ObjectStorage,
    SecretKey,
    Workspace,
)
from palaver_operator.roles import SINGLE

COMPONENT = "backup"
SCHEDULED = "palaver.chat/scheduled"
"""The label of PalaverBackups that a schedule has made."""

MAKING, VERIFYING = "backup", "verify"
"""The names of the two containers."""

_OF_BACKUP = "palaver.chat/backup"
_VOLUME_PATH = "/backup"
_REPORT = "/dev/termination-log"
_DAY_SECONDS = 24 * 3600


def backup_job_name(workspace: Workspace, backup: Identity) -> str:
    """One for each PalaverBackup, however long its name is."""
    return f"{workspace.name}-backup-{hashlib.sha256(backup.uid.encode()).hexdigest()[:10]}"


def archive_name(backup: Identity, created: str) -> str:
    """The archive of a PalaverBackup: sorts by time. `created`: its creationTimestamp."""
    digits = "".join(character for character in created if character.isalnum())
    return f"{digits}{hashlib.sha256(backup.uid.encode()).hexdigest()[:6]}"


def build_backup(workspace: Workspace, backup: Identity, spec: BackupSpec, *, created: str, keep: int) -> list[Object]:
    """`created`: when the PalaverBackup was; `keep`: how many archives of the workspace stay at its place; 0: all."""
    name = backup_job_name(workspace, backup)
    own = {_OF_BACKUP: name}
    built = [_job(workspace, spec, name, own, archive_name(backup, created), keep)]
    if spec.to.object_storage is not None:
        built.insert(0, _policy(workspace, spec.to.object_storage, name, own))
    for one in built:
        one["metadata"]["ownerReferences"] = [_owner(backup)]
    return built


def build_scheduled(workspace: Workspace, to: Object, name: str) -> Object:
    """A PalaverBackup that a schedule makes. `to`: as the Palaver says it."""
    built = make(
        workspace,
        "PalaverBackup",
        name,
        COMPONENT,
        api=API_VERSION,
        spec={"workspace": workspace.name, "to": to},
    )
    built["metadata"]["labels"][SCHEDULED] = "true"
    built["metadata"]["ownerReferences"] = [
        {
            "apiVersion": API_VERSION,
            "kind": "Palaver",
            "name": workspace.name,
            "uid": workspace.uid,
            "blockOwnerDeletion": False,
        }
    ]
    return built


def address_of(to: Destination) -> str:
    """What `palaver backup` and `palaver restore` call the place."""
    if to.object_storage is not None:
        return f"s3://{to.object_storage.bucket}/{to.object_storage.prefix.strip('/')}".rstrip("/")
    path = to.volume.path.strip("/") if to.volume is not None else ""
    return f"{_VOLUME_PATH}/{path}".rstrip("/")


def _job(workspace: Workspace, spec: BackupSpec, name: str, own: Object, archive: str, keep: int) -> Object:
    more_volumes, more_mounts = destination_volumes(spec.to)
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}, *more_volumes]
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}, *more_mounts]
    environment = [*database_environment(workspace), *destination_environment(spec.to)]
    pod: Object = {**pod_basics(workspace), "restartPolicy": "Never", "securityContext": pod_security(USER)}
    if workspace.is_single:
        # Its volume can be had where its pod runs; the database lets others read meanwhile.
        claim = f"data-{component_name(workspace, SINGLE.name)}-0"
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "data", "mountPath": "/data"})
        environment.append({"name": "PALAVER_DATA_DIR", "value": "/data"})
        found = {"matchLabels": selector(workspace, SINGLE.name)}
        term = {"labelSelector": found, "topologyKey": "kubernetes.io/hostname"}
        pod["affinity"] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

    def container(name: str, *more: str) -> Object:
        return {
            "name": name,
            "image": workspace.image,
            "imagePullPolicy": workspace.spec.image.pull_policy,
            "command": ["palaver"],
            "args": ["backup", address_of(spec.to), "--name", archive, "--report", _REPORT, *more],
            "env": environment,
            "resources": {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}},
            "securityContext": container_security(),
            "terminationMessagePath": _REPORT,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts,
        }

    pod["initContainers"] = [container(MAKING)]
    pod["containers"] = [container(VERIFYING, "--verify", *(["--keep", str(keep)] if keep else []))]
    pod["volumes"] = volumes
    metadata = {"labels": labels(workspace, COMPONENT, workspace.spec.version) | own}
    job = {
        "backoffLimit": 2,
        "activeDeadlineSeconds": _DAY_SECONDS,
        "ttlSecondsAfterFinished": _DAY_SECONDS,
        "template": {"metadata": metadata, "spec": pod},
    }
    return make(workspace, "Job", name, COMPONENT, api="batch/v1", version=workspace.spec.version, spec=job)


def destination_volumes(to: Destination) -> tuple[list[Object], list[Object]]:
    """The volume of a place that is one, and where it is mounted."""
    if to.volume is None:
        return [], []
    volume = {"name": "backup", "persistentVolumeClaim": {"claimName": to.volume.claim_name}}
    return [volume], [{"name": "backup", "mountPath": _VOLUME_PATH}]


def destination_environment(to: Destination) -> list[Object]:
    """How to reach a place that is a bucket."""
    storage = to.object_storage
    if storage is None:
        return []
    return [
        {"name": "PALAVER_BACKUP_S3_ENDPOINT", "value": storage.endpoint},
        {"name": "PALAVER_BACKUP_S3_REGION", "value": storage.region},
        from_secret("PALAVER_BACKUP_S3_ACCESS_KEY", SecretKey(storage.secret_name, "accessKey")),
        from_secret("PALAVER_BACKUP_S3_SECRET_KEY", SecretKey(storage.secret_name, "secretKey")),
    ]


def _policy(workspace: Workspace, storage: ObjectStorage, name: str, own: Object) -> Object:
    """The way to this backup's storage, beside what every backup of the workspace may reach."""
    ports = [{"port": port, "protocol": "TCP"} for port in list_ports(storage.endpoint)]
    spec = {"podSelector": {"matchLabels": own}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]}
    return make(workspace, "NetworkPolicy", name, COMPONENT, api="networking.k8s.io/v1", spec=spec)


def _owner(backup: Identity) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "PalaverBackup",
        "name": backup.name,
        "uid": backup.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
