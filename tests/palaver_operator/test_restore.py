"""A workspace that is made of an archive: nothing serves before that has been done, and it is done once."""

from typing import Any

import pytest

from palaver.backup.places import parse_place
from palaver.cli import main
from palaver.config import Config
from palaver_operator.kinds import Key
from palaver_operator.objects.restore import add_restore, build_restore
from palaver_operator.planning import Plan
from palaver_operator.rollout import Phase
from tests.palaver_operator.clusters import Live, become, plan, settled, templates
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, workspace

VOLUME: dict[str, Any] = {"from": {"volume": {"claimName": "backups", "path": "chat"}}, "archive": "20261121T030000Zab"}
STORAGE: dict[str, Any] = {
    "from": {"objectStorage": {"endpoint": "https://s3.example.org:9000", "bucket": "b", "secretName": "mine"}}
}


def kinds(made: Plan, kind: str) -> list[str]:
    return [one["metadata"]["name"] for one in made.objects if one["kind"] == kind]


def end(live: Live, outcome: str) -> Live:
    """The Jobs have come to this end."""
    ended = {"conditions": [{"type": outcome, "status": "True"}]}
    return {key: one | {"status": ended} if key.kind == "Job" else one for key, one in live.items()}


@pytest.mark.parametrize("restore", [VOLUME, STORAGE])
def test_roles_wait_for_the_archive(restore: dict[str, Any]) -> None:
    found = workspace(restore=restore)
    made = plan(found, {})
    assert (made.decision.phase, kinds(made, "Job"), kinds(made, "Deployment")) == (Phase.RESTORING, [], [])
    assert sorted(kinds(made, "StatefulSet")) == ["chat-mongodb", "chat-nats"]
    live = become(made, {})
    made = plan(found, live)
    (job,) = kinds(made, "Job")
    assert kinds(made, "Deployment") == []
    live = become(made, live)
    assert plan(found, live).decision.phase is Phase.RESTORING
    live = end(live, "Complete")
    for _ in range(5):
        made = plan(found, live)
        assert kinds(made, "Job") == [job], "it stays as long as it says that this is done"
        live = end(become(made, live), "Complete")
    assert made.decision.phase is Phase.COMPLETE
    assert len(kinds(made, "Deployment")) == 4
    assert kinds(plan(found, live, running="1.4.0"), "Job") == []


def test_a_restore_that_failed_keeps_the_roles_away() -> None:
    found = workspace(restore=VOLUME)
    live = become(plan(found, {}), {})
    live = end(become(plan(found, live), live), "Failed")
    made = plan(found, live)
    assert (made.decision.phase, made.decision.message) == (Phase.RESTORING, "The archive could not be restored")
    assert kinds(made, "Deployment") == []
    # who deletes the Job has it tried again
    live = {key: one for key, one in live.items() if key.kind != "Job"}
    assert kinds(plan(found, live), "Job")


def test_a_single_pod_may_take_its_time_to_restore_and_says_why_it_can_not() -> None:
    found = workspace(SINGLE, restore=STORAGE)
    live = become(plan(found, {}, now=1000.0), {}, ready=False)
    (template,) = templates(live).values()
    restoring = {"name": "restore", "restartCount": 0, "ready": False, "state": {"running": {}}}
    pod: Any = {"kind": "Pod", "metadata": {"name": "chat-single-0", **template["metadata"]}}
    pod["status"] = {"initContainerStatuses": [restoring]}
    live[Key("Pod", "chat-single-0")] = pod
    assert plan(found, live, now=9000.0).decision.message == ""
    ended = {"terminated": {"exitCode": 1, "message": "palaver: there is no archive\n"}}
    pod["status"] = {"initContainerStatuses": [restoring | {"restartCount": 3, "state": {}, "lastState": ended}]}
    message = plan(found, live, now=1100.0).decision.message
    assert message == "chat-single-0 has ended 3 times: palaver: there is no archive"
    pod["status"] = {}
    assert plan(found, live, now=9000.0).decision.message == "chat-single was not ready within 300 seconds"


def test_a_restore_goes_on_while_its_database_is_too_busy_to_say_that_it_is_ready() -> None:
    found = workspace(restore=VOLUME)
    live = become(plan(found, {}), {})
    made = plan(found, live)
    live = become(made, live)
    live[Key("StatefulSet", "chat-mongodb")]["status"]["availableReplicas"] = 0
    assert kinds(plan(found, live), "Job") == kinds(made, "Job") != []


def test_a_workspace_that_runs_is_left_alone() -> None:
    live = settled(workspace())
    made = plan(workspace(restore=VOLUME), live, running="1.4.0")
    assert made.decision.phase is Phase.COMPLETE
    assert kinds(made, "Job") == []
    assert templates(become(made, live)) == templates(live)


def test_a_single_pod_restores_before_it_serves() -> None:
    found = workspace(SINGLE, restore=STORAGE)
    assert build_restore(found) is None
    made = plan(found, {})
    (pod,) = templates(become(made, {})).values()
    (container,) = pod["spec"]["initContainers"]
    assert {"name": "PALAVER_DATA_DIR", "value": "/data"} in container["env"]
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    before: dict[str, Any] = {"metadata": {}, "spec": {"volumes": []}}
    assert add_restore(workspace(SINGLE), before) is before
    # what it needs no more goes when the resource no longer says it
    live = become(made, {})
    after = become(plan(workspace(SINGLE), live, running="1.4.0"), live)
    assert "initContainers" not in after[Key("StatefulSet", "chat-single")]["spec"]["template"]["spec"]


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
@pytest.mark.parametrize("restore", [VOLUME, STORAGE])
@pytest.mark.parametrize("name", ["", "talk"])
def test_palaver_understands_what_it_is_told(
    base: dict[str, Any], restore: dict[str, Any], name: str, capsys: Any
) -> None:
    found = workspace(base, restore={**restore, **({"workspace": name} if name else {})})
    job = build_restore(found)
    template = {"metadata": {}, "spec": {"volumes": [{"name": "tmp"}, {"name": "data"}]}}
    pod = add_restore(found, template)["spec"] if job is None else job["spec"]["template"]["spec"]
    (container,) = pod["initContainers"] if job is None else pod["containers"]
    environment = {entry["name"]: entry.get("value", "mongodb://x") for entry in container["env"]}
    assert len(environment) == len(container["env"])
    config = Config.from_environment(environment)
    assert config.workspace == "chat"
    assert container["args"][0] == "restore"
    place = parse_place(container["args"][1], config)
    assert place.shown == ("/backup/chat/20261121T030000Zab" if restore is VOLUME else "s3://b")
    assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert [part for part in container["args"] if name and name in part] == (["--workspace=talk"] if name else [])
    with pytest.raises(SystemExit) as ended:
        main([*container["args"], "--help"])
    assert ended.value.code == 0
