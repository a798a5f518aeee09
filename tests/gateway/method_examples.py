"""A call of each DDP method that its declared types take: made of its parameters' names and types.

`EXAMPLES` says what these alone don't. A value such as "{room}" stands for a thing that a `World` makes when it is
first asked for, as in `examples.py`.
"""

import base64
import inspect
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from palaver.gateway.ddp.method import Date, Method
from tests.gateway.examples import PNG
from tests.services import ADMIN_PASSWORD

NAMES: dict[str, Any] = {
    "rid": "{room}",
    "prid": "{room}",
    "roomId": "{room}",
    "room_id": "{room}",
    "id_or_name": "{room}",
    "room_type": "c",
    "userId": "{target}",
    "user_id": "{target}",
    "blocked": "{target}",
    "username": "{target name}",
    "usernames": "{target name}",
    "members": ["{target name}"],
    "users": ["{target name}"],
    "mid": "{message}",
    "tmid": "{message}",
    "messageId": "{message}",
    "message_id": "{message}",
    "message_ids": ["{message}"],
    "thread_id": "{message}",
    "upload_id": "{upload}",
    "emoji_id": "{emoji}",
    "status_id": "{status}",
    "integration_id": "{integration}",
    "integrationId": "{outgoing integration}",
    "role_id": "{role}",
    "permission_id": "access-mailer",
    "email": "{new name}@example.org",
    "emoji": ":smile:",
    "sort": "name",
    "t_name": "{new name}",
    "tokenName": "{new name}",
    "status": "busy",
    "statusType": "busy",
}
"""What a parameter of a method, or a field of one, gets by its name."""

_INTEGRATION = {
    "name": "robot",
    "enabled": True,
    "username": "boss",
    "scriptEnabled": False,
    "script": "",
    "channel": "#general",
    "alias": "robot",
    "avatar": "",
    "emoji": ":smile:",
}
_OUTGOING = {**_INTEGRATION, "event": "sendMessage", "urls": ["http://chat.example.org/"], "triggerWords": ["a"]}
_OF_ROOM = {
    "roomName": "{new name}",
    "roomTopic": "T",
    "roomAnnouncement": "A",
    "roomDescription": "D",
    "roomCustomFields": {"a": "b"},
    "roomType": "p",
    "readOnly": True,
    "reactWhenReadOnly": True,
    "systemMessages": ["uj"],
    "default": True,
    "joinCode": "secret",
    "retentionEnabled": True,
    "retentionMaxAge": 5,
    "encrypted": True,
    "favorite": {"defaultValue": True, "favorite": True},
}
_CREDENTIALS = {
    "user": {"username": "boss"},
    "password": {"digest": "0" * 64, "algorithm": "sha-256"},
    "resume": "token",
    "code": "1",
}

EXAMPLES: dict[str, list[Any]] = {
    "login": [_CREDENTIALS],
    "registerUser": [{"email": "a@example.org", "pass": "secret of a", "username": "{new name}", "name": "A"}],
    "saveUserPreferences": [{"useEmojis": True, "desktopNotifications": "all", "highlights": ["a"], "hideRoles": True}],
    "saveUserProfile": [{"realname": "Al", "bio": "b", "typedPassword": ""}, {"a": "b"}],
    "saveCustomFields": [{"a": "b"}],
    "setUsername": ["{new name}"],
    "checkUsernameAvailability": ["{new name}"],
    "deleteUserOwnAccount": [ADMIN_PASSWORD, True],
    "insertOrUpdateUser": [
        {"username": "{new name}", "name": "A", "email": "{new name}@example.org", "password": "secret of a"}
    ],
    "saveRoomSettings": ["{room}", _OF_ROOM],
    "saveSetting": ["Site_Name", "Ours"],
    "saveSettings": [[{"_id": "Site_Name", "value": "Ours"}]],
    "saveNotificationSettings": ["{room}", "desktopNotifications", "all"],
    "createChannel": ["{new name}", ["{target name}"], False, {"a": "b"}, {"broadcast": False, "encrypted": False}],
    "createPrivateGroup": ["{new name}", ["{target name}"], False, {"a": "b"}, {"broadcast": False, "topic": "T"}],
    "getRoomByTypeAndName": ["c", "{room name}"],
    "roomNameExists": ["{room name}"],
    "addUserToRoom": [{"rid": "{room}", "username": "{stranger name}"}],
    "addUsersToRoom": [{"rid": "{room}", "users": ["{stranger name}"]}],
    "blockUser": [{"rid": "{direct room}", "blocked": "{target}"}],
    "unblockUser": [{"rid": "{direct room}", "blocked": "{target}"}],
    "muteUserInRoom": [{"rid": "{room}", "username": "{target name}"}],
    "browseChannels": [{"text": "a", "type": "users", "workspace": "local", "sortBy": "name", "sortDirection": "desc"}],
    "getUserMentionsByChannel": [{"roomId": "{room}", "options": {"limit": 5, "skip": 0, "sort": {"ts": -1}}}],
    "setReaction": [":smile:", "{message}", True],
    "spotlight": ["a", ["boss"], {"users": True, "rooms": True}, "{room}"],
    "updateMessage": [{"_id": "{message}", "rid": "{room}", "msg": "other", "customFields": {"a": "b"}}],
    "insertOrUpdateSound": [{"name": "{new name}", "extension": "mp3"}],
    "deleteOutgoingIntegration": ["{outgoing integration}"],
    "removeRoomOwner": ["{room}", "{another owner}"],
    "removeRoomModerator": ["{room}", "{another moderator}"],
    "removeRoomLeader": ["{room}", "{leader}"],
    "sendMessage": [
        {
            "rid": "{room}",
            "msg": "hello @all https://example.org",
            "attachments": [{"text": "a", "fields": [{"title": "a", "value": "b"}], "actions": []}],
            "blocks": [{"type": "section"}],
            "customFields": {"a": "b"},
        },
        ["https://example.org"],
    ],
    "sendFileMessage": ["{room}", "", {"_id": "{upload}"}, {"msg": "look", "customFields": {"a": "b"}}],
    "slashCommand": [{"cmd": "topic", "params": "T", "msg": {"rid": "{room}"}}],
    "getSlashCommandPreviews": [{"cmd": "giphy", "params": "T", "msg": {"rid": "{room}"}}],
    "setAvatarFromService": ["data:image/png;base64," + base64.b64encode(PNG).decode(), "image/png", "upload"],
    "resetAvatar": ["{target}"],
    "setAsset": [PNG.decode("latin-1"), "image/png", "logo"],
    "unsetAsset": ["logo"],
    "insertOrUpdateEmoji": [{"name": "{new name}", "aliases": "a,b", "extension": "png"}],
    "uploadEmojiCustom": [PNG.decode("latin-1"), "image/png", {"_id": "{emoji}", "name": "a"}],
    "insertOrUpdateUserStatus": [{"name": "{new name}", "statusType": "busy"}],
    "addIncomingIntegration": [_INTEGRATION],
    "addOutgoingIntegration": [_OUTGOING],
    "updateIncomingIntegration": ["{integration}", _INTEGRATION],
    "updateOutgoingIntegration": ["{outgoing integration}", _OUTGOING],
    "clearIntegrationHistory": ["{outgoing integration}"],
    "authorization:addUserToRole": ["{role}", "{target name}"],
    "authorization:removeUserFromRole": ["{role of target}", "{target name}"],
    "canAccessRoom": ["{room}"],
}


def example_of_method(declared: Method) -> list[Any]:
    """The arguments of a method's example, with "{…}" where a World has to fill in."""
    if declared.name in EXAMPLES:
        return EXAMPLES[declared.name]
    names = list(inspect.signature(declared.handler).parameters)[1:]
    return [_example(name, kind) for name, kind in zip(names, declared.parameters, strict=True)]


def fields_of(kind: Any) -> dict[str, Any]:
    """The fields that an object of a declared type has, each with its type; none for what is no such object."""
    for one in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            hints = get_type_hints(one, include_extras=True)
            return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(one)}
    return {}


def _example(name: str, kind: Any) -> Any:
    if name in NAMES:
        return NAMES[name]
    if get_origin(kind) in (Union, UnionType):
        return _example(name, next(one for one in get_args(kind) if one not in (NoneType, msgspec.UnsetType)))
    if get_origin(kind) is Annotated:
        return 5
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is list:
        return [_example(name, get_args(kind)[0])]
    if kind is Date:
        return {"$date": 1_700_000_000_000}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
        return {
            name: _example("messageId" if name == "_id" else name, inner)
            for name, inner in fields_of(kind).items()
            if name in required or name in NAMES
        }
    return {str: "text", bool: True, int: 5, float: 1.5}.get(kind, {})
