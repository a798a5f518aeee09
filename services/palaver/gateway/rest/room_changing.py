"""What the three faces of rooms have for changing: making, naming, describing, hiding, archiving, deleting."""

from typing import Any

from msgspec import UNSET, UnsetType

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment
from palaver.gateway.operations import rooms, subscriptions, teams
from palaver.gateway.rest.endpoint import Answer, LooseParams
from palaver.gateway.rest.errors import Failure, Forbidden
from palaver.gateway.rest.room_faces import Face, Found, OneRoom, WhichRoom

_YES = (True, 1, "true", "1")
_NO = (False, 0, "false", "0")


class CreateBody(rooms.NewRoom, LooseParams, kw_only=True, rename="camel"):
    teams: list[str] | None = None  # by name: who is in them at this moment becomes a member, too


class NameBody(WhichRoom):
    name: str = ""


class TopicBody(WhichRoom):
    topic: str | UnsetType = UNSET


class PurposeBody(WhichRoom):
    purpose: str | UnsetType = UNSET


class DescriptionBody(WhichRoom):
    description: str | UnsetType = UNSET


class AnnouncementBody(WhichRoom):
    announcement: str | UnsetType = UNSET


class StrictAnnouncementBody(OneRoom, forbid_unknown_fields=True, kw_only=True):
    announcement: str


class ReadOnlyBody(WhichRoom, rename="camel"):
    read_only: bool | UnsetType = UNSET


class StrictReadOnlyBody(OneRoom, rename="camel", forbid_unknown_fields=True, kw_only=True):
    read_only: bool


class TypeBody(WhichRoom):
    type: str = ""


class DefaultBody(WhichRoom):
    default: bool | int | str | UnsetType = UNSET


class JoinCodeBody(WhichRoom, rename="camel"):
    join_code: str = ""


class EncryptedBody(WhichRoom):
    encrypted: bool | UnsetType = UNSET


class ShowBody(OneRoom, forbid_unknown_fields=True):
    """Clients send their list's order and filter along, which change nothing."""

    query: str = ""
    sort: dict[str, int] | None = None


class CustomFieldsBody(WhichRoom, rename="camel"):
    custom_fields: Any = None


async def create(face: Face, call: Call, body: CreateBody) -> Answer:
    if not call.may(f"create-{face.room_type}"):
        raise Forbidden
    if not body.name:
        raise Failure('Param "name" is required' if face.room_type == "c" else 'Body param "name" is required')
    if body.teams:
        body.members = [*(body.members or ()), *await teams.list_usernames(call, body.teams)]
    reply = await rooms.create_room(call, face.room_type, body)
    return {face.key: Fragment(reply.room)}


async def rename(face: Face, call: Call, body: NameBody) -> Answer:
    if not body.name.strip():
        raise Failure('The bodyParam "name" is required')
    found = await face.find(call, body)
    if body.name == found.name:
        raise _same(face, "name", verb="renamed")
    return await _change(face, call, found, name=body.name)


async def set_topic(face: Face, call: Call, body: TopicBody) -> Answer:
    return await _set_text(face, call, body, "topic", body.topic)


async def set_description(face: Face, call: Call, body: DescriptionBody) -> Answer:
    return await _set_text(face, call, body, "description", body.description)


async def set_purpose(face: Face, call: Call, body: PurposeBody) -> Answer:
    """An older name of the description."""
    return await _set_text(face, call, body, "purpose", body.purpose, field="description")


async def set_announcement(face: Face, call: Call, body: AnnouncementBody | StrictAnnouncementBody) -> Answer:
    return await _set_text(face, call, body, "announcement", body.announcement)


async def _set_text(
    face: Face, call: Call, body: WhichRoom, parameter: str, text: str | UnsetType, field: str = ""
) -> Answer:
    if isinstance(text, UnsetType):
        raise Failure(f'The bodyParam "{parameter}" is required')
    found = await face.find(call, body)
    await rooms.update_room(call, found.id, **{field or parameter: text})
    return {parameter: text}


async def set_read_only(face: Face, call: Call, body: ReadOnlyBody | StrictReadOnlyBody) -> Answer:
    if isinstance(body.read_only, UnsetType):
        raise Failure('The bodyParam "readOnly" is required')
    found = await face.find(call, body)
    if bool(found.room.get("ro")) == body.read_only:
        raise _same(face, "read only setting")
    return await _change(face, call, found, ro=body.read_only)


async def set_type(face: Face, call: Call, body: TypeBody) -> Answer:
    """From public to private, or back."""
    if not body.type.strip():
        raise Failure('The bodyParam "type" is required')
    found = await face.find(call, body)
    if body.type == face.room_type:
        raise _same(face, "type")
    return await _change(face, call, found, t=body.type)


async def set_default(face: Face, call: Call, body: DefaultBody) -> Answer:
    """Whether every new user enters the room."""
    if body.default not in (*_YES, *_NO):
        raise InvalidInput(
            'The bodyParam "default" is required', code="error-channels-setdefault-missing-default-param"
        )
    wanted = body.default in _YES
    found = await face.find(call, body)
    if bool(found.room.get("default")) == wanted:
        raise InvalidInput(
            "The channel default setting is the same as what it would be changed to.",
            code="error-channels-setdefault-is-same",
        )
    return await _change(face, call, found, default=wanted)


async def set_join_code(face: Face, call: Call, body: JoinCodeBody) -> Answer:
    if not body.join_code.strip():
        raise Failure('The bodyParam "joinCode" is required')
    found = await face.find(call, body)
    return await _change(face, call, found, joinCode=body.join_code)


async def set_encrypted(face: Face, call: Call, body: EncryptedBody) -> Answer:
    if isinstance(body.encrypted, UnsetType):
        raise Failure('The bodyParam "encrypted" is required')
    found = await face.find(call, body)
    return await _change(face, call, found, encrypted=body.encrypted)


async def set_custom_fields(face: Face, call: Call, body: CustomFieldsBody) -> Answer:
    if not isinstance(body.custom_fields, dict):
        raise Failure('The bodyParam "customFields" is required with a type like object.')
    found = await face.find(call, body)
    return await _change(face, call, found, customFields=body.custom_fields)


async def _change(face: Face, call: Call, found: Found, **changes: Any) -> Answer:
    reply = await rooms.update_room(call, found.id, **changes)
    return {face.key: Fragment(reply.room)}


def _same(face: Face, what: str, verb: str = "changed") -> Failure:
    return Failure(f"The {face.noun} {what} is the same as what it would be {verb} to.")


# -- archived, deleted, hidden -----------------------------------------------------------------------------------------


async def archive(face: Face, call: Call, body: WhichRoom) -> Answer:
    found = await face.find(call, body)
    await rooms.update_room(call, found.id, archived=True)
    return {}


async def unarchive(face: Face, call: Call, body: WhichRoom) -> Answer:
    found = await face.find(call, body, archived_too=True)
    if not found.room.get("archived"):
        raise Failure(f"The {face.noun}, {found.name}, is not archived")
    await rooms.update_room(call, found.id, archived=False)
    return {}


async def delete(face: Face, call: Call, body: WhichRoom) -> Answer:
    found = await face.find(call, body, archived_too=True)
    await rooms.delete_room(call, found.id)
    return {}


async def hide(face: Face, call: Call, body: WhichRoom) -> Answer:
    """Takes the room from the caller's list."""
    found = await face.find(call, body, archived_too=True)
    if found.subscription is None:
        raise Failure(f'The user/callee is not in the {face.noun} "{found.name}.')
    if not found.subscription["open"]:
        raise Failure(f"The {face.noun}, {found.name}, is already closed to the sender")
    await subscriptions.prefer(call, found.id, open=False)
    return {}


async def show(face: Face, call: Call, body: WhichRoom | ShowBody) -> Answer:
    """Puts the room back into the caller's list."""
    found = await face.find(call, body, archived_too=True)
    if found.subscription is None:
        raise Failure(f'The user/callee is not in the {face.noun} "{found.name}.')
    if found.subscription["open"] and face.room_type != "d":
        raise Failure(f"The {face.noun}, {found.name}, is already open to the sender")
    await subscriptions.prefer(call, found.id, open=True)
    return {}
