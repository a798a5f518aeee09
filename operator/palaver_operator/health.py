"""What the status of workloads and pods means: ready, moving, watched, or in trouble. Pure; used by planning.py."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from palaver_operator.objects.naming import Object
from palaver_operator.objects.workloads import PROGRESS_SECONDS
from palaver_operator.revisions import Revision, inputs_of

_LACKING_SECONDS = 60.0
_GONE_SECONDS = 60.0  # after its grace a pod is gone, unless its node is lost
_MOST_WORDS = 500  # characters of what a process said last
_RESTARTS = 3  # so often a container may fall before its revision has failed
_ERRORS_A_SECOND = 1.0  # what a new revision may have at any rate, a pod
_WORSE = 3.0  # so many times more than the one before it
_HOPELESS = (
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
)


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed unexpectedly in one pod."""

    total: float
    """Since its process began."""
    lately: float | None
    """A second: the median of the last minute's readings, so that half a minute without a database is not taken for
    the pod's own fault. None while there are too few."""


def count_ready(workload: Object | None) -> int:
    """Pods that serve."""
    return int(((workload or {}).get("status") or {}).get("readyReplicas") or 0)


def count_desired(workload: Object) -> int:
    """Pods that there are to be; 1 is what the API server takes for nothing."""
    replicas = workload["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def is_ready(workload: Object | None) -> bool:
    """Whether all of its pods are of its newest template, and serve."""
    if workload is None:
        return False
    status, desired = workload.get("status") or {}, count_desired(workload)
    if not _is_observed(workload):
        return False
    if status.get("updateRevision") != status.get("currentRevision") and status.get("updatedReplicas", 0) < desired:
        return False
    updated = status.get("updatedReplicas") or 0
    is_whole = workload["kind"] == "StatefulSet" and status.get("updateRevision") == status.get("currentRevision")
    available = status.get("availableReplicas") or 0
    return (updated >= desired or is_whole) and available >= desired and (status.get("replicas") or 0) == desired


def _is_observed(workload: Object) -> bool:
    """Whether its status speaks of what it says now."""
    observed = (workload.get("status") or {}).get("observedGeneration") or 0
    return bool(observed >= (workload["metadata"].get("generation") or 0))


def is_lacking(workload: Object | None, now: float) -> bool:
    """Whether a Deployment has had too few pods for longer than it takes to start some. `now`: unix seconds."""
    for condition in ((workload or {}).get("status") or {}).get("conditions") or []:
        if condition["type"] == "Available" and condition["status"] == "False":
            return now - _unix(condition["lastTransitionTime"]) > _LACKING_SECONDS
    return False


def find_trouble(workload: Object | None, pods: Sequence[Object], revision: Revision | None, now: float) -> str:
    """Why a workload's revision won't get ready, as a sentence; empty while there is hope. `now`: unix seconds."""
    if workload is None or revision is None or is_ready(workload):
        return ""
    name = workload["metadata"]["name"]
    for pod in pods:
        if inputs_of(pod) != revision.inputs:
            continue
        for container in [*_initial(pod), *((pod.get("status") or {}).get("containerStatuses") or [])]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            if container.get("restartCount", 0) >= _RESTARTS and not container.get("ready"):
                last = ((container.get("lastState") or {}).get("terminated") or {}).get("message") or ""
                words = last.strip().splitlines()[-1:]
                why = f": {words[0][:_MOST_WORDS]}" if words else ""
                return f"{pod['metadata']['name']} has ended {container['restartCount']} times{why}"
            if waiting.get("reason") in _HOPELESS and now - revision.since > PROGRESS_SECONDS / 2:
                return f"{pod['metadata']['name']} can't start: {waiting['reason']}"
    # What its controller has not looked at yet, it can't have given up.
    for condition in (workload.get("status") or {}).get("conditions") or [] if _is_observed(workload) else []:
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return f"{name} was not ready within {PROGRESS_SECONDS} seconds"
    is_late = revision.since and now - revision.since > PROGRESS_SECONDS
    # What is made of an archive first takes as long as it is large.
    if workload["kind"] == "StatefulSet" and is_late and not any(map(_is_preparing, pods)):
        return f"{name} was not ready within {PROGRESS_SECONDS} seconds"
    return ""


def _initial(pod: Object) -> list[Object]:
    found: list[Object] = (pod.get("status") or {}).get("initContainerStatuses") or []
    return found


def _is_preparing(pod: Object) -> bool:
    return any("running" in (container.get("state") or {}) for container in _initial(pod))


def find_strain(new: Sequence[float], old: Sequence[float], usual: float | None) -> str:
    """Why a revision is taken back although its pods are ready, as a sentence; empty if there is no reason.

    `new`, `old`: unexpected failures a second, of its pods and of those of the revision before; `usual`: what a pod had
    before the new one came. With nothing to compare with, nothing is said.
    """
    before = [*([statistics.fmean(old)] if old else []), *([usual] if usual is not None else [])]
    if not new or not before:
        return ""
    now, most = statistics.fmean(new), max(before)
    if now <= _ERRORS_A_SECOND or now <= _WORSE * most:
        return ""
    return f"each new pod has {now:.1f} unexpected errors a second, one of those before {most:.1f}"


def find_usual_failures(pods: Iterable[Object], failures: Mapping[str, Failures], now: float) -> float | None:
    """Unexpected failures a second of one of these pods, over its whole life; None if nobody knows.

    `now`: unix seconds.
    """
    rates = []
    for pod in pods:
        found, since = failures.get(pod["metadata"]["name"]), _running_since(pod)
        if found is not None and since is not None:
            rates.append(found.total / max(1.0, now - since))
    return statistics.fmean(rates) if rates else None


def is_watched(pods: Iterable[Object], failures: Mapping[str, Failures], seconds: float, now: float) -> bool:
    """Whether at least half of these pods' serving ones have served for so many seconds, and those that say how often
    they fail have said it often enough. `now`: unix seconds.

    Half of them, as there may always be some that have just come, where nodes go or the number of pods follows load.
    """
    serving = [pod for pod in pods if is_pod_ready(pod)]
    proven = [pod for pod in serving if now - _ready_since(pod) >= seconds]
    if not serving or len(proven) * 2 < len(serving):
        return False
    said = [failures[pod["metadata"]["name"]] for pod in proven if pod["metadata"]["name"] in failures]
    return all(one.lately is not None for one in said)


def is_pod_ready(pod: Object) -> bool:
    """Whether it serves, and stays."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _ready_since(pod: Object) -> float:
    """In unix seconds, of a pod that is ready."""
    condition = next(entry for entry in pod["status"]["conditions"] if entry["type"] == "Ready")
    return _unix(condition["lastTransitionTime"])


def _running_since(pod: Object) -> float | None:
    """Since when its process runs, in unix seconds."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if started := ((container.get("state") or {}).get("running") or {}).get("startedAt"):
            return _unix(started)
    return None


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def is_moving(pod: Object, now: float) -> bool:
    """Whether it starts or leaves, and has done so for no longer than that may take. `now`: unix seconds.

    One that no node has room for, or whose node is lost, may stand there for ever. So may one that was evicted, which
    is replaced already.
    """
    metadata = pod["metadata"]
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return False
    if due := metadata.get("deletionTimestamp"):  # when its grace is over
        return now < _unix(due) + _GONE_SECONDS
    if is_pod_ready(pod):
        return False
    ready = [entry for entry in (pod.get("status") or {}).get("conditions") or [] if entry["type"] == "Ready"]
    since = ready[0].get("lastTransitionTime") if ready else None
    return now - _unix(since or metadata["creationTimestamp"]) < PROGRESS_SECONDS


def job_outcome(job: Object | None) -> bool | None:
    """True: done. False: failed. None: not yet."""
    for condition in ((job or {}).get("status") or {}).get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return bool(condition["type"] == "Complete")
    return None
