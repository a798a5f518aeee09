"""PalaverBackups: each becomes a Job, whose progress stands in its status; and a Palaver's schedule makes new ones.

A backup that is complete, or has failed, is not looked at again. Called by rounds.py, one at a time for each backup,
and (the schedule) by reconcile.py. What a Job looks like is objects/backup.py.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from palaver_operator import metrics
from palaver_operator.health import job_outcome
from palaver_operator.kinds import KINDS, Key
from palaver_operator.kube import ApiError, Kube, Unreachable
from palaver_operator.mirror import Mirror
from palaver_operator.objects.backup import MAKING, SCHEDULED, VERIFYING, backup_job_name, build_backup, build_scheduled
from palaver_operator.objects.naming import Object
from palaver_operator.planning import as_it_runs
from palaver_operator.resource import SpecError, Workspace, identify, parse, parse_backup
from palaver_operator.schedule import parse_schedule
from palaver_operator.spec import Backup, BackupSpec

logger = logging.getLogger(__name__)

_JOB_NAME = "batch.kubernetes.io/job-name"
_LONGEST_MESSAGE = 1000
_LOOK = timedelta(minutes=5)
_PATIENCE = timedelta(hours=6)  # how long a backup may take before it is missed

Status = dict[str, Any]


def is_finished(body: Object) -> bool:
    """Whether nothing more will come of it."""
    return (body.get("status") or {}).get("phase") in ("Complete", "Failed")


class Backups:
    """Reconciles PalaverBackups. `clock`: UTC."""

    def __init__(
        self, kube: Kube, mirror: Mirror, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._kube = kube
        self._mirror = mirror
        self._clock = clock

    async def reconcile(self, body: Object) -> Object:
        """Makes its Job where there is none, and says how far it is. Returns the resource as it is then.

        Raises ApiError; what was refused of its Job stands in its status, too.
        """
        if is_finished(body):
            return body
        before: Status = body.get("status") or {}
        try:
            spec = parse_backup(body)
        except SpecError as error:
            return await self._write(body, {"phase": "Failed", "message": str(error)})
        backup = identify(body)
        palaver = await self._kube.find(KINDS["Palaver"], backup.namespace, spec.workspace)
        running = ((palaver or {}).get("status") or {}).get("version", "")
        if palaver is None or not running:
            return await self._write(body, {"phase": "Pending", "message": f"{spec.workspace} is not there yet"})
        live = self._mirror.look(backup.namespace, spec.workspace)
        try:
            # By the version that runs: a newer one would change the database.
            workspace = as_it_runs(parse(palaver), running, live)
        except SpecError as error:
            return await self._write(body, {"phase": "Pending", "message": f"{spec.workspace}: {error}"})
        job = live.get(Key("Job", backup_job_name(workspace, backup)))
        if job is None:
            if before.get("startedAt"):
                gone = "its Job was deleted before it ended"
                return await self._write(body, {**before, "phase": "Failed", "message": gone})
            try:
                job = await self._start(body, workspace, spec)
            except Unreachable:
                raise
            except ApiError as error:
                await self._write(body, {"phase": "Pending", "message": f"its Job is refused: {error}"})
                raise
        status = show_progress(before, job, list_pods_of(live, job), self._clock())
        if status["phase"] in ("Complete", "Failed"):
            metrics.BACKUPS_FINISHED.labels(status["phase"].lower()).inc()
        return await self._write(body, status)

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """A backup that is gone, or finished: nothing is remembered of it."""

    async def _start(self, body: Object, workspace: Workspace, spec: BackupSpec) -> Object:
        metadata = body["metadata"]
        schedule = workspace.spec.backup
        is_scheduled = (metadata.get("labels") or {}).get(SCHEDULED) == "true"
        keep = schedule.keep if schedule is not None and is_scheduled and schedule.to == spec.to else 0
        created = metadata["creationTimestamp"]
        made: Object = {}
        for built in build_backup(workspace, identify(body), spec, created=created, keep=keep):
            made = await self._kube.apply(KINDS[built["kind"]], built)
            metrics.OBJECTS_WRITTEN.labels(built["kind"]).inc()
            made.setdefault("kind", built["kind"])
            self._mirror.put(made)
        logger.info("%s/%s: backup %s begins", workspace.namespace, workspace.name, metadata["name"])
        return made

    async def _write(self, body: Object, status: Status) -> Object:
        before: Status = body.get("status") or {}
        change = {name: status.get(name) for name in {*before, *status} if status.get(name) != before.get(name)}
        if not change:
            return body
        backup = identify(body)
        kind = KINDS["PalaverBackup"]
        return await self._kube.patch(kind, backup.namespace, backup.name, {"status": change}, subresource="status")


class Schedules:
    """Makes PalaverBackups when they are due, and takes the resources of old ones away: their Jobs remove the archives.

    A backup that was due while no operator ran is made when one does; several are made up by one.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._made: dict[str, datetime] = {}
        self._looked: dict[str, datetime] = {}

    async def tend(self, workspace: Workspace, created: str, now: datetime) -> None:
        """`created`: when the Palaver was: nothing was due before. Raises ApiError."""
        backup = workspace.spec.backup
        if now >= self._looked.get(workspace.uid, datetime.min.replace(tzinfo=UTC)) + _LOOK:
            await self._look(workspace, datetime.fromisoformat(created), now)
            self._looked[workspace.uid] = now
        if backup is None:
            return
        due = parse_schedule(backup.schedule).find_last(now)
        if due is None or due <= datetime.fromisoformat(created) or self._made.get(workspace.uid) == due:
            return
        found = await self._list_backups(workspace)
        if not all(is_finished(one) for one in found):
            return  # two at a time would be in each other's way; this one is made when that one has ended
        built = build_scheduled(workspace, msgspec.to_builtins(backup.to), f"{workspace.name}-{due:%Y%m%d%H%M}")
        try:
            await self._kube.create(KINDS["PalaverBackup"], built)
            metrics.OBJECTS_WRITTEN.labels("PalaverBackup").inc()
        except ApiError as error:
            if error.status != 409:
                raise
        self._made[workspace.uid] = due
        scheduled = [one for one in found if (one["metadata"].get("labels") or {}).get(SCHEDULED) == "true"]
        await self._remove_old(workspace, backup, scheduled)

    def forget(self, uid: str) -> None:
        """A workspace that is gone."""
        self._made.pop(uid, None)
        self._looked.pop(uid, None)

    async def _look(self, workspace: Workspace, created: datetime, now: datetime) -> None:
        """Measures whether there are the backups that should be there."""
        expected, mine = None, []
        if workspace.spec.backup is not None:
            expected = parse_schedule(workspace.spec.backup.schedule).find_last(now - _PATIENCE)
            mine = await self._list_backups(workspace)
        names = (workspace.namespace, workspace.name)
        is_due = expected is not None and expected > created
        metrics.BACKUP_MISSING.labels(*names).set(is_due and not has_completed(mine, expected or now))
        metrics.BACKUP_FAILED.labels(*names).set(has_failed(mine))

    async def _list_backups(self, workspace: Workspace) -> list[Object]:
        """All of this workspace, whoever has made them."""
        found, _ = await self._kube.list(KINDS["PalaverBackup"], workspace.namespace, "")
        return [one for one in found if one["spec"]["workspace"] == workspace.name]

    async def _remove_old(self, workspace: Workspace, backup: Backup, found: Sequence[Object]) -> None:
        kind = KINDS["PalaverBackup"]
        names = sorted(one["metadata"]["name"] for one in found)
        for name in names[: -backup.keep]:
            await self._kube.delete(kind, workspace.namespace, name)
            metrics.OBJECTS_WRITTEN.labels(kind.name).inc()


def has_completed(backups: Sequence[Object], since: datetime) -> bool:
    """Whether one of these PalaverBackups was completed at that time or later."""
    return any(phase == "Complete" and ended >= since for ended, phase in _endings(backups))


def has_failed(backups: Sequence[Object]) -> bool:
    """Whether the last of these PalaverBackups that ended has failed."""
    return max(_endings(backups), default=(None, ""))[1] == "Failed"


def _endings(backups: Sequence[Object]) -> list[tuple[datetime, str]]:
    """When those that have ended did, and how."""
    statuses = [one.get("status") or {} for one in backups if is_finished(one)]
    return [(datetime.fromisoformat(one["completedAt"]), one["phase"]) for one in statuses if "completedAt" in one]


def list_pods_of(live: Mapping[Key, Object], job: Object) -> list[Object]:
    """The pods of a Job, oldest first."""
    name = job["metadata"]["name"]
    found = [
        one
        for key, one in live.items()
        if key.kind == "Pod" and (one["metadata"].get("labels") or {}).get(_JOB_NAME) == name
    ]
    return sorted(found, key=lambda one: (one["metadata"].get("creationTimestamp", ""), one["metadata"]["name"]))


def show_progress(before: Status, job: Object, pods: Sequence[Object], now: datetime) -> Status:
    """The status of a backup whose Job looks so. Pure."""
    outcome = job_outcome(job)
    newest = _states(pods[-1]) if pods else {}
    making, verifying = newest.get(MAKING, {}), newest.get(VERIFYING, {})
    if outcome is True:
        phase = "Complete"
    elif outcome is False:
        phase = "Failed"
    elif "running" in verifying or "terminated" in verifying:
        phase = "Verifying"
    elif "running" in making or "terminated" in making:
        phase = "Running"
    else:
        phase = "Pending"
    at = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    status: Status = {"phase": phase, "startedAt": before.get("startedAt", at)}
    if outcome is not None:
        status["completedAt"] = at
    ended = [state["terminated"] for pod in pods for state in _states(pod).values() if "terminated" in state]
    for one in ended:
        status |= _read_report(one.get("message", ""))
    if outcome is not True:
        failures = [one for one in ended if one.get("exitCode")]
        message = _explain(failures[-1]) if failures else _condition(job)
        status["message"] = message[-_LONGEST_MESSAGE:]
    return {name: value for name, value in status.items() if value != ""}


def _states(pod: Object) -> dict[str, Object]:
    """The state of each container, in the order in which they run."""
    status = pod.get("status") or {}
    entries = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return {entry["name"]: entry.get("state") or {} for entry in entries}


def _explain(terminated: Object) -> str:
    """Why a container failed: the last of its last words, or what Kubernetes calls it (OOMKilled)."""
    lines = [line for line in terminated.get("message", "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else str(terminated.get("reason", ""))


def _read_report(word: str) -> Status:
    """What `palaver backup --report` has written; nothing, where it is something else."""
    try:
        report = msgspec.json.decode(word, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
    types = {"archive": str, "documents": int, "uploads": int, "bytes": int}
    return {name: report[name] for name, type in types.items() if isinstance(report.get(name), type)}


def _condition(job: Object) -> str:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((entry.get("message", "") for entry in reversed(conditions) if entry["status"] == "True"), "")
