"""What a PalaverBackup becomes, and what is said of it while its Job runs."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from palaver.backup.places import Folder, is_name, parse_place
from palaver.cli import main
from palaver.config import Config
from palaver_operator.backups import has_completed, has_failed, show_progress
from palaver_operator.objects.backup import (
    SCHEDULED,
    address_of,
    archive_name,
    backup_job_name,
    build_backup,
    build_scheduled,
)
from palaver_operator.resource import Identity, Workspace, parse_backup
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, workspace

CREATED = "2026-11-21T03:00:00Z"
NOW = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
BACKUP = Identity("nightly", "talk", "u-2", 1)
VOLUME: dict[str, Any] = {"volume": {"claimName": "backups", "path": "/chat/"}}
STORAGE: dict[str, Any] = {
    "objectStorage": {"endpoint": "https://s3.example.org:9000", "bucket": "b", "prefix": "of/chat/", "secretName": "s"}
}


def built(found: Workspace, to: dict[str, Any], keep: int = 0) -> dict[str, dict[str, Any]]:
    spec = parse_backup({"spec": {"workspace": "chat", "to": to}})
    return {one["kind"]: one for one in build_backup(found, BACKUP, spec, created=CREATED, keep=keep)}


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    pod = job["spec"]["template"]["spec"]
    return [*pod["initContainers"], *pod["containers"]]


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
@pytest.mark.parametrize("to", [VOLUME, STORAGE])
def test_palaver_understands_what_it_is_told(base: dict[str, Any], to: dict[str, Any], capsys: Any) -> None:
    job = built(workspace(base, objectStorage=STORAGE["objectStorage"]), to, keep=3)["Job"]
    values = {"PALAVER_MONGODB_URL": "mongodb://m"}
    for container in containers(job):
        environment = {
            entry["name"]: entry.get("value") or values.get(entry["name"], "x") for entry in container["env"]
        }
        assert len(environment) == len(container["env"]), "no variable twice"
        config = Config.from_environment(environment)
        assert config.workspace == "chat"
        assert bool(config.mongodb_url) == (base is CLUSTER)
        assert container["command"] == ["palaver"]
        command, address, *options = container["args"]
        assert command == "backup"
        place = parse_place(address, config)
        assert place.shown == ("/backup/chat" if to is VOLUME else "s3://b/of/chat")
        assert isinstance(place, Folder) == (to is VOLUME)
        assert is_name(options[options.index("--name") + 1])
        assert options[options.index("--report") + 1] == container["terminationMessagePath"]
        with pytest.raises(SystemExit) as ended:
            main([*container["args"], "--help"])
        assert ended.value.code == 0
    making, verifying = containers(job)
    assert "--verify" in verifying["args"]
    assert "--verify" not in making["args"]
    assert verifying["args"][-2:] == ["--keep", "3"]
    assert "--keep" not in containers(built(workspace(), to)["Job"])[1]["args"]


@pytest.mark.parametrize("to", [VOLUME, STORAGE])
def test_no_pod_has_more_rights_than_it_needs(to: dict[str, Any]) -> None:
    job = built(workspace(), to)["Job"]
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["restartPolicy"] == "Never"
    for container in containers(job):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_the_one_pods_volume_is_read_where_it_runs() -> None:
    pod = built(workspace(SINGLE), VOLUME)["Job"]["spec"]["template"]["spec"]
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v
    }
    assert claims == {"backup": "backups", "data": "data-chat-single-0"}
    (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "single"
    assert "affinity" not in built(workspace(), VOLUME)["Job"]["spec"]["template"]["spec"]


def test_verifying_has_a_disk_of_its_own_or_no_more_of_the_nodes_than_it_may() -> None:
    def tmp(found: Workspace) -> dict[str, Any]:
        job = built(found, VOLUME)["Job"]["spec"]["template"]["spec"]
        assert all({"name": "tmp", "mountPath": "/tmp"} in one["volumeMounts"] for one in job["containers"])
        (volume,) = (one for one in job["volumes"] if one["name"] == "tmp")
        return dict(volume)

    assert tmp(workspace())["emptyDir"] == {"sizeLimit": "20Gi"}
    assert tmp(workspace(backup={"to": VOLUME}))["emptyDir"] == {"sizeLimit": "20Gi"}
    scratch = {"size": "70Gi", "storageClassName": "fast"}
    wanted = tmp(workspace(backup={"to": VOLUME, "scratch": scratch}))["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert wanted["resources"] == {"requests": {"storage": "70Gi"}}
    assert wanted["storageClassName"] == "fast"
    assert wanted["accessModes"] == ["ReadWriteOnce"]
    usual = tmp(workspace(backup={"to": VOLUME, "scratch": {}}))["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert "storageClassName" not in usual


def test_a_backups_resources_are_those_that_are_said() -> None:
    given = {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    for container in containers(built(workspace(backup={"to": VOLUME, "resources": given}), VOLUME)["Job"]):
        assert container["resources"] == given


def test_everything_goes_with_its_backup() -> None:
    found = built(workspace(), STORAGE)
    assert set(found) == {"Job", "NetworkPolicy"}
    assert set(built(workspace(), VOLUME)) == {"Job"}
    for one in found.values():
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("PalaverBackup", "nightly", "u-2")
        assert one["metadata"]["namespace"] == "talk"
    policy = found["NetworkPolicy"]["spec"]
    assert policy["egress"] == [{"ports": [{"port": 9000, "protocol": "TCP"}]}]
    pod_labels = found["Job"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= pod_labels.items()
    assert pod_labels["app.kubernetes.io/component"] == "backup"


def test_names_are_short_and_each_backups_own() -> None:
    long = Identity("x" * 253, "talk", "u-3", 1)
    assert len(backup_job_name(workspace(), long)) <= 63
    assert backup_job_name(workspace(), long) != backup_job_name(workspace(), BACKUP)
    assert archive_name(BACKUP, CREATED) != archive_name(long, CREATED)
    assert archive_name(BACKUP, CREATED).startswith("20261121T030000Z")


def test_a_place_without_a_folder() -> None:
    spec = parse_backup({"spec": {"workspace": "chat", "to": {"volume": {"claimName": "c"}}}})
    assert address_of(spec.to) == "/backup"


def test_what_a_schedule_makes_is_a_backup() -> None:
    made = build_scheduled(workspace(), STORAGE, "chat-202611210300")
    assert parse_backup(made).to.object_storage is not None
    assert made["metadata"]["labels"][SCHEDULED] == "true"
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u-1"


# -- progress ----------------------------------------------------------------------------------------------------------


def pod(name: str = "p1", **states: dict[str, Any]) -> dict[str, Any]:
    entries = [{"name": container, "state": state} for container, state in states.items()]
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-11-21T03:00:0{name[-1]}Z"},
        "status": {
            "initContainerStatuses": [entry for entry in entries if entry["name"] == "backup"],
            "containerStatuses": [entry for entry in entries if entry["name"] == "verify"],
        },
    }


def job(outcome: str = "", message: str = "") -> dict[str, Any]:
    conditions = [{"type": outcome, "status": "True", "message": message}] if outcome else []
    return {"metadata": {"name": "j"}, "status": {"conditions": conditions}}


RUNS: dict[str, Any] = {"running": {"startedAt": CREATED}}
WAITS: dict[str, Any] = {"waiting": {"reason": "PodInitializing"}}
REPORT = {"archive": "s3://b/x", "documents": 10, "uploads": 2, "bytes": 300, "verified": True, "seconds": 1.5}


def ended(report: Any) -> dict[str, Any]:
    return {"terminated": {"message": orjson.dumps(report).decode() if not isinstance(report, str) else report}}


def test_a_backup_goes_through_its_phases() -> None:
    status = show_progress({}, job(), [], NOW)
    assert status == {"phase": "Pending", "startedAt": "2026-11-21T03:01:00Z"}
    status = show_progress(status, job(), [pod(backup=WAITS, verify=WAITS)], NOW)
    assert status["phase"] == "Pending"
    status = show_progress(status, job(), [pod(backup=RUNS, verify=WAITS)], NOW)
    assert status["phase"] == "Running"
    made = {name: value for name, value in REPORT.items() if name != "documents"}
    status = show_progress(status, job(), [pod(backup=ended(made), verify=WAITS)], NOW)
    assert (status["phase"], status["archive"], "documents" in status) == ("Running", "s3://b/x", False)
    status = show_progress(status, job(), [pod(backup=ended(made), verify=RUNS)], NOW)
    assert status["phase"] == "Verifying"
    later = datetime(2026, 11, 21, 3, 9, tzinfo=UTC)
    status = show_progress(status, job("Complete"), [pod(backup=ended(made), verify=ended(REPORT))], later)
    assert status == {
        "phase": "Complete",
        "startedAt": "2026-11-21T03:01:00Z",
        "completedAt": "2026-11-21T03:09:00Z",
        "archive": "s3://b/x",
        "documents": 10,
        "uploads": 2,
        "bytes": 300,
    }


def failed(message: str, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": 1, "reason": reason, "message": message}}


def test_a_failed_backup_says_why() -> None:
    said = '{"time": "…", "message": "a line of the log"}\npalaver: The storage does not answer [error-unavailable]\n'
    status = show_progress({}, job("Failed", "too often"), [pod(backup=failed(said), verify=WAITS)], NOW)
    assert status["phase"] == "Failed"
    assert status["message"] == "palaver: The storage does not answer [error-unavailable]"
    assert "completedAt" in status
    status = show_progress({}, job("Failed"), [pod(backup=ended(REPORT), verify=failed("", "OOMKilled"))], NOW)
    assert (status["message"], status["archive"]) == ("OOMKilled", "s3://b/x")
    status = show_progress({}, job("Failed", "Job was active longer than specified deadline"), [], NOW)
    assert status["message"] == "Job was active longer than specified deadline"


def test_while_it_is_tried_again_it_says_what_happened() -> None:
    pods = [pod("p1", backup=failed("palaver: no")), pod("p2", backup=RUNS, verify=WAITS)]
    status = show_progress({}, job(), pods, NOW)
    assert (status["phase"], status["message"]) == ("Running", "palaver: no")
    pods = [pods[0], pod("p2", backup=ended(REPORT), verify=ended(REPORT))]
    assert "message" not in show_progress(status, job("Complete"), pods, NOW)


def test_the_last_try_counts() -> None:
    first = pod("p1", backup=ended("palaver: no"), verify=WAITS)
    second = pod("p2", backup=RUNS, verify=WAITS)
    assert show_progress({}, job(), [first, second], NOW)["phase"] == "Running"


@pytest.mark.parametrize("word", ["", "{", "[]", '{"archive": 3, "documents": "x"}', "null"])
def test_other_last_words_are_no_report(word: str) -> None:
    status = show_progress({}, job("Complete"), [pod(backup=ended(word), verify=ended(word))], NOW)
    assert set(status) == {"phase", "startedAt", "completedAt"}


def test_whether_backups_are_there() -> None:
    def ended(hour: int, phase: str) -> dict[str, Any]:
        return {"status": {"phase": phase, "completedAt": f"2026-11-21T{hour:02}:00:00Z"}}

    running: dict[str, Any] = {"status": {"phase": "Running"}}
    found = [running, ended(5, "Failed"), ended(3, "Complete"), {}]
    assert has_completed(found, datetime(2026, 11, 21, 3, tzinfo=UTC))
    assert not has_completed(found, datetime(2026, 11, 21, 4, tzinfo=UTC))
    assert has_failed(found)
    assert not has_failed([*found, ended(6, "Complete")])
    assert not has_failed([running])
    assert not has_failed([])
