"""What a PalaverBackup becomes: a Job that makes the archive, then restores it into a scratch database and counts; and
its way to the storage.

The first container is an init container, so that the phase can be seen from outside. Both write what they have done to
where Kubernetes keeps a container's last words. Run again, they find what is whole already, and leave it.
"""

import hashlib

from palaver_operator.objects.claims import claim
from palaver_operator.objects.jobs import DAY_SECONDS, job, job_resources, job_template
from palaver_operator.objects.naming import Object, component_name, make, own, selector
from palaver_operator.objects.network import list_ports
from palaver_operator.objects.pods import TMP, database_environment, from_secret, palaver_container
from palaver_operator.resource import API_VERSION, Identity, Workspace, resources_of
from palaver_operator.roles import SINGLE
from palaver_operator.spec import BackupSpec, Destination, ObjectStorage, Scratch

COMPONENT = "backup"
SCHEDULED = "palaver.chat/scheduled"
"""The label of PalaverBackups that a schedule has made."""

MAKING, VERIFYING = "backup", "verify"
"""The names of the two containers."""

_OF_BACKUP = "palaver.chat/backup"
_VOLUME_PATH = "/backup"
_REPORT = "/dev/termination-log"


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
    mark = {_OF_BACKUP: name}
    built = [_job(workspace, spec, name, mark, archive_name(backup, created), keep)]
    if spec.to.object_storage is not None:
        built.insert(0, _policy(workspace, spec.to.object_storage, name, mark))
    return [own(one, "PalaverBackup", backup) for one in built]


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
    return own(built, "Palaver", workspace)


def address_of(to: Destination) -> str:
    """What `palaver backup` and `palaver restore` call the place."""
    if to.object_storage is not None:
        return f"s3://{to.object_storage.bucket}/{to.object_storage.prefix.strip('/')}".rstrip("/")
    path = to.volume.path.strip("/") if to.volume is not None else ""
    return f"{_VOLUME_PATH}/{path}".rstrip("/")


def _job(workspace: Workspace, spec: BackupSpec, name: str, mark: Object, archive: str, keep: int) -> Object:
    volumes, mounts = destination_volumes(spec.to)
    environment = [*database_environment(workspace), *destination_environment(spec.to)]
    pod: Object = {}
    schedule = workspace.spec.backup
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
        return palaver_container(
            workspace,
            name,
            ["backup", address_of(spec.to), "--name", archive, "--report", _REPORT, *more],
            environment=environment,
            resources=resources_of(schedule.resources if schedule else None, job_resources("192Mi")),
            mounts=mounts,
            terminationMessagePath=_REPORT,
            terminationMessagePolicy="FallbackToLogsOnError",
        )

    pod["initContainers"] = [container(MAKING)]
    pod["containers"] = [container(VERIFYING, "--verify", *(["--keep", str(keep)] if keep else []))]
    scratch = _scratch(schedule.scratch if schedule else None)
    template = job_template(workspace, COMPONENT, volumes, scratch=scratch, **pod)
    template["metadata"]["labels"] |= mark
    limits = {"backoffLimit": 2, "activeDeadlineSeconds": DAY_SECONDS, "ttlSecondsAfterFinished": DAY_SECONDS}
    return job(workspace, name, COMPONENT, template, **limits)


def _scratch(scratch: Scratch | None) -> Object:
    """Where the archive is restored to be verified: about as large as the database. Whoever needs more of a node's own
    disk is ended, before that is full and others have to go.
    """
    if scratch is None:
        return TMP | {"emptyDir": {"sizeLimit": Scratch().size}}
    wanted = claim(TMP["name"], scratch.size, scratch.storage_class_name)
    return {"name": TMP["name"], "ephemeral": {"volumeClaimTemplate": {"spec": wanted["spec"]}}}


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
        from_secret("PALAVER_BACKUP_S3_ACCESS_KEY", storage.access_key),
        from_secret("PALAVER_BACKUP_S3_SECRET_KEY", storage.secret_key),
    ]


def _policy(workspace: Workspace, storage: ObjectStorage, name: str, mark: Object) -> Object:
    """The way to this backup's storage, beside what every backup of the workspace may reach."""
    ports = [{"port": port, "protocol": "TCP"} for port in list_ports(storage.endpoint)]
    spec = {"podSelector": {"matchLabels": mark}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]}
    return make(workspace, "NetworkPolicy", name, COMPONENT, api="networking.k8s.io/v1", spec=spec)
