"""Whether an object is as it shall be, without asking the API server."""

import copy
from typing import Any

import pytest

from palaver_operator.drift import DIGEST, as_answered, is_as_wanted, seal

WANTED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 2,
        "paused": False,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "palaver",
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
                        "resources": {"limits": {"cpu": "1000m"}},
                        "args": ["serve", "--role", "auth"],
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        },
    },
}


def live() -> Any:
    found: Any = copy.deepcopy(WANTED)
    found["status"] = {"replicas": 2}
    found["spec"].pop("paused")
    container = found["spec"]["template"]["spec"]["containers"][0]
    container["terminationMessagePath"] = "/dev/termination-log"
    container["env"][1].pop("value")
    return found


def test_defaults_and_what_is_left_out_are_no_difference() -> None:
    assert is_as_wanted(live(), WANTED)


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "replicas"),
        ("spec", "template", "spec", "containers", 0, "env", 0, "value"),
        ("spec", "template", "spec", "containers", 0, "args", 2),
        ("spec", "template", "spec", "volumes"),
    ],
)
def test_what_was_changed_or_taken_away_is_seen(path: tuple[Any, ...]) -> None:
    found = live()
    part = found
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = None
    assert not is_as_wanted(found, WANTED)


def test_others_may_add_to_lists_that_have_names_but_not_to_those_that_have_none() -> None:
    found = live()
    found["spec"]["template"]["spec"]["containers"].insert(0, {"name": "sidecar"})
    assert is_as_wanted(found, WANTED)
    found["spec"]["template"]["spec"]["containers"][1]["args"].append("--extra")
    assert not is_as_wanted(found, WANTED)


def test_one_more_way_through_a_network_policy_is_seen() -> None:
    policy = {"kind": "NetworkPolicy", "spec": {"ingress": [{"ports": [{"port": 7000}]}]}}
    found = copy.deepcopy(policy)
    found["spec"]["ingress"][0]["ports"].append({"port": 22})  # type: ignore[index]
    assert is_as_wanted(policy, policy)
    assert not is_as_wanted(found, policy)


def test_others_who_may_come_through_a_network_policy_are_seen() -> None:
    callers = [{"podSelector": {"matchLabels": {"app": "chat"}}}]
    policy: dict[str, Any] = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "a"},
        "spec": {"podSelector": {}, "ingress": [{"from": callers}], "egress": []},
    }
    found = copy.deepcopy(policy)
    found["metadata"]["uid"] = "u"
    del found["spec"]["egress"]  # it leaves out what is empty
    assert is_as_wanted(found, policy)
    found["spec"]["ingress"][0]["from"][0]["namespaceSelector"] = {}  # those of every namespace
    assert not is_as_wanted(found, policy)


def test_a_field_that_is_no_longer_wanted_is_missed_by_its_digest() -> None:
    before, after = copy.deepcopy(WANTED), copy.deepcopy(WANTED)
    del after["spec"]["template"]["spec"]["containers"][0]["env"][0]
    seal(before)
    seal(after)
    assert before["metadata"]["annotations"][DIGEST] != after["metadata"]["annotations"][DIGEST]
    assert not is_as_wanted(before, after)
    assert is_as_wanted(after, after)


def test_the_api_servers_own_words_are_remembered() -> None:
    answer = live()
    answer["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    assert not is_as_wanted(answer, WANTED)
    remembered = as_answered(answer, WANTED)
    assert is_as_wanted(answer, remembered)
    answer["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    assert not is_as_wanted(answer, remembered)
