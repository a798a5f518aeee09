"""The .proto files, the Python that speaks of them, and the tables beside them say the same."""

import dataclasses
import importlib.util
import inspect
import typing
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

import palaver
from palaver import api, projections
from palaver.database import STREAM_COLLECTIONS
from palaver.database.schema import COLLECTIONS
from palaver.events import STREAM_OF_FACT
from palaver.node import Services
from palaver.roles import ROLES
from palaver.rpc import method_name
from palaver.rpc.client import find_affinity, is_idempotent
from palaver.v1 import auth_pb2, event_pb2, integration_pb2, messaging_pb2, presence_pb2, team_pb2

SERVICES: dict[str, tuple[type, ServiceDescriptor]] = {
    "auth": (api.Auth, auth_pb2.DESCRIPTOR.services_by_name["Auth"]),
    "presence": (api.Presence, presence_pb2.DESCRIPTOR.services_by_name["Presence"]),
    "messaging": (api.Messaging, messaging_pb2.DESCRIPTOR.services_by_name["Messaging"]),
}
FACTS = {field.name: field for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields}


def methods_of(protocol: type) -> dict[str, typing.Any]:
    """The methods that a class declares itself."""
    return {name: value for name, value in vars(protocol).items() if inspect.isfunction(value) and name[0] != "_"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_protocol_has_the_methods_of_its_service(service: str) -> None:
    protocol, descriptor = SERVICES[service]
    assert list(methods_of(protocol)) == [method_name(method) for method in descriptor.methods]


@pytest.mark.parametrize(
    ("service", "method"),
    [(service, method.name) for service, (_, descriptor) in SERVICES.items() for method in descriptor.methods],
)
def test_a_method_takes_and_gives_what_the_contract_says(service: str, method: str) -> None:
    protocol, descriptor = SERVICES[service]
    contract = descriptor.methods_by_name[method]
    function = methods_of(protocol)[method_name(contract)]
    assert inspect.iscoroutinefunction(function)
    assert list(inspect.signature(function).parameters) == ["self", "request"]
    assert typing.get_type_hints(function) == {
        "request": GetMessageClass(contract.input_type),
        "return": GetMessageClass(contract.output_type),
    }
    assert not contract.client_streaming
    assert not contract.server_streaming


def test_no_service_is_left_out() -> None:
    files = (auth_pb2, event_pb2, integration_pb2, messaging_pb2, presence_pb2, team_pb2)
    declared = {service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()}
    assert declared == {descriptor.full_name for _, descriptor in SERVICES.values()}
    assert {name: role.service for name, role in ROLES.items() if role.service is not None} == {
        name: descriptor for name, (_, descriptor) in SERVICES.items()
    }
    assert {field.name for field in dataclasses.fields(Services)} == set(SERVICES)


def test_a_role_calls_only_what_stands_before_it() -> None:
    names = list(ROLES)
    for name, role in ROLES.items():
        assert role.name == name
        assert all(names.index(callee) < names.index(name) for callee in role.calls)
        assert all(ROLES[callee].service is not None for callee in role.calls)


@pytest.mark.parametrize("name", SERVICES)
def test_a_role_is_called_as_its_service(name: str) -> None:
    """The name in certificates is the role's."""
    assert SERVICES[name][1].name.lower() == name


def test_calls_about_the_same_thing_say_so() -> None:
    """Which requests name what they are about, in the field that the table of roles declares."""
    assert {name: role.affinity for name, role in ROLES.items()} == {
        "auth": "",
        "presence": "",  # every one of its processes knows everybody
        "messaging": "room_id",
        "gateway": "",
    }
    _, messaging = SERVICES["messaging"]
    own = ROLES["messaging"].by_actor
    what = "what is appended to the stream of who acts"
    assert own == {"MarkRead", "MarkUnread", "SetSubscription", "StarMessage"}, what
    assert own <= {method.name for method in messaging.methods}
    elsewhere = {method.name for method in messaging.methods if find_affinity(method, "room_id", own) is None}
    # Those about several rooms, about none, or about a message of a room that the caller does not know.
    assert elsewhere == {
        "CheckInvite",
        "CheckRelinquish",
        "ClearDeliveries",
        "CloseReports",
        "CreateTeam",
        "FollowThread",
        "GetTakeout",
        "GetIntegration",
        "GetMessage",
        "GetMessages",
        "GetReport",
        "GetRoomHeads",
        "GetStatistics",
        "GetUpload",
        "JoinDefaultRooms",
        "ListDeliveries",
        "ListHearing",
        "ListIntegrations",
        "ListInvites",
        "ListJoins",
        "ListKeyless",
        "ListMemberships",
        "ListMissingKeys",
        "ListReadReceipts",
        "ListReported",
        "ListReports",
        "ListRooms",
        "ListStatistics",
        "ListSubscriptions",
        "ListTeams",
        "OpenDirectRoom",
        "PinMessage",
        "PostByWebhook",
        "React",
        "RemoveIntegration",
        "RemoveInvite",
        "ReplayDelivery",
        "Report",
        "RequestTakeout",
        "ResetMemberKeys",
        "SaveIntegration",
        "UseInvite",
    }
    named_otherwise = {
        field.full_name
        for file in (messaging_pb2, presence_pb2, team_pb2)
        for message in file.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.name in ("rid", "room", "uid", "user") and message.name.endswith("Request")
    }
    assert named_otherwise == set()


def test_what_may_be_called_twice() -> None:
    """Everything that only looks; and of what changes something, what is the same when it is done again."""
    repeatable = {
        name: {m.name for m in service.methods if is_idempotent(m)} for name, (_, service) in SERVICES.items()
    }
    never = {name: {m.name for m in service.methods} - repeatable[name] for name, (_, service) in SERVICES.items()}
    assert never == {
        "auth": {
            "AddUserToRole",
            "BeginAuthenticator",
            "CheckSecondFactor",
            "CreateToken",
            "CreateUser",
            "DeactivateIdle",
            "DeleteCustomStatus",
            "DeleteMedium",
            "DeleteRole",
            "DeleteUser",
            "DisableAuthenticator",
            "EnableAuthenticator",
            "EndSession",
            "IssuePersonalToken",
            "Login",
            "RegisterUser",
            "RemovePersonalToken",
            "RemoveUserFromRole",
            "RenewBackupCodes",
            "ResetAuthenticator",
            "ResetPassword",
            "SaveCustomStatus",
            "SaveMedium",
            "SaveRole",
            "SendConfirmation",
            "SendTakeoutLink",
            "SendInvitations",
            "SendPasswordLink",
            "SendSecondFactorCode",
            "SendTestLetter",
            "SendWelcome",
            "SetEmailSecondFactor",
            "SetKeys",
            "UpdateUser",
            "VerifyEmail",
        },
        "presence": set(),
        "messaging": {
            "AddTeamMembers",
            "AddTeamRooms",
            "AnswerKey",
            "ClearDeliveries",
            "CloseReports",
            "ConvertToTeam",
            "CreateDiscussion",
            "CreateRoom",
            "CreateTeam",
            "DeleteMessage",
            "DeleteRoom",
            "EndTeam",
            "ExportRoom",
            "LeaveRoom",
            "OpenDirectRoom",
            "PinMessage",
            "PostByWebhook",
            "PruneMessages",
            "React",
            "RemoveIntegration",
            "RemoveInvite",
            "RemoveMember",
            "RemoveTeamMember",
            "RemoveTeamRoom",
            "ReplayDelivery",
            "Report",
            "RequestTakeout",
            "SaveIntegration",
            "SetMemberRole",
            "SetRoomKey",
            "SetTeamDefault",
            "SetTeamRoles",
            "TellOffTheRecord",
            "UpdateRoom",
            "UpdateTeam",
        },
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_role_plays_its_whole_service(name: str) -> None:
    if importlib.util.find_spec(ROLES[name].module) is None:
        pytest.fail(f"{ROLES[name].module} is missing")
    module = importlib.import_module(ROLES[name].module)
    returned = inspect.signature(module.build).return_annotation
    cls = getattr(module, returned) if isinstance(returned, str) else returned
    for method, function in methods_of(SERVICES[name][0]).items():
        played = getattr(cls, method)
        assert inspect.iscoroutinefunction(played), f"{name}.{method}"
        assert typing.get_type_hints(played) == typing.get_type_hints(function), f"{name}.{method}"


def test_every_fact_has_its_stream_and_its_projection() -> None:
    assert list(STREAM_OF_FACT) == list(FACTS)
    assert set(projections._TABLE) == set(FACTS)
    assert set(STREAM_OF_FACT.values()) == set(STREAM_COLLECTIONS) == {"room", "user", "workspace"}
    assert set(STREAM_COLLECTIONS.values()) <= set(COLLECTIONS)


def test_the_numbers_of_facts_go_by_their_stream() -> None:
    ranges = {"room": range(20, 40), "user": range(40, 60), "workspace": range(60, 80)}
    for name, field in FACTS.items():
        assert field.number in ranges[STREAM_OF_FACT[name]], name


def test_a_fact_is_a_message_of_its_name() -> None:
    for name, field in FACTS.items():
        assert field.type == FieldDescriptor.TYPE_MESSAGE
        assert field.message_type is not None
        # Several facts may say the same of different streams: "message_reported" and "user_reported".
        assert "".join(part.title() for part in name.split("_")).endswith(field.message_type.name)


@pytest.mark.parametrize("name", ROLES)
def test_whoever_commits_also_sweeps(name: str) -> None:
    folder = Path(palaver.__file__).parent / name
    commits = any("commits.execute(" in module.read_text(encoding="utf-8") for module in folder.rglob("*.py"))
    assert ROLES[name].commits == commits
