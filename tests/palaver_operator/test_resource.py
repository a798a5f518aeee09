"""What a Palaver says, and that the schema at the API server and the types here are the same."""

from typing import Any

import msgspec
import pytest
import yaml

from palaver.roles import ROLES as PALAVER_ROLES
from palaver.roles import list_callers as list_palaver_callers
from palaver_operator.cli import read_crd
from palaver_operator.resource import RETRY, SpecError, parse, parse_backup
from palaver_operator.roles import ROLES, list_callers
from palaver_operator.spec import BackupSpec, Spec
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, palaver, workspace


def test_the_roles_are_palavers_own() -> None:
    assert list(ROLES) == list(PALAVER_ROLES)
    for name, role in ROLES.items():
        assert role.calls == PALAVER_ROLES[name].calls
        assert set(list_callers(name)) == list_palaver_callers(name)


def test_what_is_to_be_tried_again_is_said_by_an_annotation() -> None:
    body = palaver()
    assert parse(body).retry == ""
    body["metadata"]["annotations"] = {RETRY: "1"}
    assert parse(body).retry == "1"


def _fields(schema: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, part in schema.get("properties", {}).items():
        found |= {f"{path}.{name}"} | _fields(part, f"{path}.{name}") | _fields(part.get("items", {}), f"{path}.{name}")
    return found


def _struct_fields(kind: Any, path: str = "") -> set[str]:
    found = set()
    for field in msgspec.structs.fields(kind):
        found.add(f"{path}.{field.encode_name}")
        for part in (field.type, *getattr(field.type, "__args__", ())):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                found |= _struct_fields(part, f"{path}.{field.encode_name}")
    return found


@pytest.mark.parametrize(("file", "kind"), [("palaver.yaml", Spec), ("palaverbackup.yaml", BackupSpec)])
def test_schema_and_types_have_the_same_fields(file: str, kind: type) -> None:
    crd = yaml.safe_load(read_crd(file))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert _fields(schema) == _struct_fields(kind)


def test_every_field_says_something_else_than_its_type() -> None:
    """Documentation is for `kubectl explain`; leaves that repeat in words what their name says have none."""
    crd = yaml.safe_load(read_crd("palaver.yaml"))
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    missing = [name for name, part in spec["properties"].items() if "description" not in part]
    assert set(missing) <= {"scaling", "federation", "drain"}
    assert all(rule["message"] for rule in spec["x-kubernetes-validations"])


def test_roles_are_sized_by_the_expected_users() -> None:
    small, large = workspace(expectedUsers=500), workspace(expectedUsers=50_000)
    assert (small.role("gateway").min, small.role("gateway").max) == (2, 4)
    assert (large.role("gateway").min, large.role("gateway").max) == (2, 20)
    assert workspace(expectedUsers=50_000, scaling={"enabled": False}).role("gateway").min == 10


def test_a_floor_alone_raises_the_ceiling_and_a_ceiling_alone_lowers_the_floor() -> None:
    assert workspace(roles={"gateway": {"min": 40}}).role("gateway").max == 40
    plan = workspace(roles={"auth": {"max": 1}}).role("auth")
    assert (plan.min, plan.max) == (1, 1)


def test_addresses() -> None:
    assert workspace().url == "http://chat.example.org"
    assert workspace(tls={}).url == "https://chat.example.org"
    assert workspace().image == "palaver:1.4.0"
    assert workspace(image={"repository": "registry.example.org/palaver", "tag": "x"}).image.endswith("/palaver:x")


def test_parts_that_are_made_and_parts_that_are_given() -> None:
    own = workspace()
    assert own.mongodb_url.secret == "chat-mongodb"
    assert own.nats_url.secret == "chat-nats"
    assert own.nats_replicas == 3
    given = workspace(mongodb={"secretName": "m", "key": "k"}, nats={"secretName": "n", "replicas": 5})
    assert (given.mongodb_url.secret, given.mongodb_url.key) == ("m", "k")
    assert given.managed_nats is None
    assert given.nats_replicas == 5
    assert workspace(SINGLE).managed_nats is None


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"mongodb": None}, "spec.mongodb"),
        ({"mongodb": {"secretName": "x", "trial": {}}}, "spec.mongodb"),
        ({"nats": {}}, "spec.nats"),
        ({"size": "single"}, "size single"),
        ({"federation": {"enabled": True}}, "no federation"),
        ({"roles": {"auth": {"min": 3, "max": 2}}}, "min is greater than max"),
        ({"route": {"kind": "HTTPRoute"}}, "spec.route.gateway.name"),
        ({"backup": {"to": {}}}, "objectStorage or volume"),
        ({"hostnam": "x"}, "hostnam"),
        ({"version": 1}, "version"),
        ({"settings": {"A": {"b": 1}}}, "settings"),
    ],
)
def test_nonsense_is_refused_with_the_place(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        parse(palaver(CLUSTER, **spec))


def test_a_backup_has_one_destination() -> None:
    assert parse_backup({"spec": {"workspace": "chat", "to": {"volume": {"claimName": "c"}}}}).workspace == "chat"
    with pytest.raises(SpecError):
        parse_backup({"spec": {"workspace": "chat", "to": {}}})
