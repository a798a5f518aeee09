"""Calls every declared endpoint and method with arguments that fit their names and types, each optional one in turn.

What an argument is called says what it may be: an id of a room, a user, a message, a date, a page. An endpoint that is
declared tomorrow is called without a line here; one whose argument has a name of its own needs its line in `SAMPLES`.
"""

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import orjson

from palaver.gateway import rest
from palaver.gateway.ddp.method import methods_of
from palaver.gateway.ddp.methods import METHOD_MODULES
from palaver.gateway.rest.endpoint import Endpoint, endpoints_of
from tests.gateway.rest import Client
from tests.plans.workspace import NOW, ROOM, TEAM, TEAM_NUMBER, THREAD, USER

_DATE = "2023-11-14T22:14:00.000Z"
_MESSAGE = "message7"

SAMPLES: dict[str, Sequence[Any]] = {
    "roomId": [ROOM],
    "rid": [ROOM],
    "prid": [ROOM],
    "roomName": ["room-0"],
    "userId": [USER, "user1"],
    "uid": ["user1"],
    "username": [USER],
    "user": [USER],
    "usernames": ["user1"],
    "userIds": [["user1"]],
    "msgId": [_MESSAGE],
    "messageId": [_MESSAGE],
    "mid": [_MESSAGE],
    "tmid": [THREAD],
    "teamId": [TEAM],
    "teamName": [f"room-{TEAM_NUMBER}"],
    "text": ["common"],
    "searchText": ["common"],
    "searchTerm": ["ser1"],
    "filter": ["ser1"],
    "selector": ['{"term":"ser1"}', '{"name":"oom-1"}', '{"term":"ser1","exceptions":["user2"]}', "oom-1"],
    "name": ["oom-1"],
    "query": ["oom-1", "@ser1"],
    "sort": [
        orjson.dumps({name: way}).decode()
        for name in ("name", "username", "ts", "createdAt", "usersCount", "lastMessage", "uploadedAt")
        for way in (1, -1)
    ],
    "token": ["token1"],
    "sessionId": ["session1"],
    "latest": [_DATE],
    "oldest": [_DATE],
    "updatedSince": [_DATE],
    "lastUpdate": [_DATE],
    "since": [_DATE],
    "offset": [50],
    "count": [50],
    "status": ["online", "offline", "active", "deactivated"],
    "type": ["following", "unread", "users", "channels", "teams", "user", "bot", "c", "p", "d", "outgoing-webhook"],
    "types": ["c", ["c", "p", "d"], "teams"],
    "role": ["admin", "user"],
    "roles": ["admin"],
    "hasLoggedIn": [True, False],
    "inclusive": ["true"],
    "unreads": ["true"],
    "showThreadMessages": ["false", "true"],
    "confirmRelinquish": [True],
    "daysIdle": [1],
    "readThreads": [True],
}

_SECOND_NAMES = {"roomName": "roomId", "username": "userId", "user": "userId", "teamName": "teamId"}
"""Another way to say what an id says."""

ENDPOINTS = [declared for module in rest.ENDPOINT_MODULES for declared in endpoints_of(module)]
ENDS_LOGINS = ("login", "logout", "users.logout", "users.logoutOtherClients", "users.deleteOwnAccount", "users.delete")
METHODS = methods_of(*METHOD_MODULES)


async def walk_lists(client: Client) -> None:
    """Every GET endpoint: with what it must be given, and with each other parameter."""
    for declared in ENDPOINTS:
        if declared.method != "GET" or declared.path in ENDS_LOGINS:
            continue
        path = "/".join(ROOM if part.startswith(":") else part for part in declared.path.split("/"))
        for parameters in _variants(declared):
            answer = await client.request("GET", path, params=parameters)
            assert answer.status_code < 500 or answer.status_code == 501, (path, parameters, answer.text)


def _variants(declared: Endpoint) -> Iterator[dict[str, Any]]:
    needed, names = _needed(declared)
    yield needed
    page = {"offset": 50} if "offset" in names else {}
    for name in names:
        if name in _SECOND_NAMES:
            by_id = _SECOND_NAMES[name]
            yield {**{other: value for other, value in needed.items() if other != by_id}, name: SAMPLES[name][0]}
        else:
            yield from ({**needed, name: value, **page} for value in SAMPLES.get(name, ["x"]))


def _needed(declared: Endpoint) -> tuple[dict[str, Any], list[str]]:
    """What the endpoint must be given, and the names of all that it takes. Each way to name a room or a user is
    declared as optional, though one is needed."""
    fields = msgspec.structs.fields(declared.query) if declared.query else ()
    wanted = [
        field
        for field in fields
        if field.required or field.encode_name in ("roomId", "rid", "userId", "tmid", "teamId")
    ]
    needed = {field.encode_name: SAMPLES.get(field.encode_name, ["x"])[0] for field in wanted}
    return needed, [field.encode_name for field in fields]


async def walk_changes(client: Client) -> None:
    """Every POST endpoint, each about another room, so that none is in the way of the next."""
    posts = [declared for declared in ENDPOINTS if declared.method == "POST" and declared.path not in ENDS_LOGINS]
    for number, declared in enumerate(posts, 1):
        room_id = f"room{number}"
        path = "/".join(room_id if part.startswith(":") else part for part in declared.path.split("/"))
        fields = msgspec.structs.fields(declared.body) if declared.body else ()
        body = {field.encode_name: _of_field(field, room_id) for field in fields}
        body = {name: room_id if SAMPLES.get(name) in ([ROOM], [TEAM]) else value for name, value in body.items()}
        body = {name: value for name, value in body.items() if name not in _SECOND_NAMES}
        answer = await client.request("POST", path, json=body)
        assert answer.status_code < 500 or answer.status_code in (501, 503), (path, body, answer.text)


async def walk_methods(client: Client, beginnings: Sequence[str]) -> None:
    """The methods whose names begin so, with arguments of their types."""
    for name in (name for name in METHODS if name.startswith(tuple(beginnings))):
        for text in (ROOM, USER, THREAD):
            arguments = [_argument(kind, text) for kind in METHODS[name].parameters]
            frame = await client.call(name, *arguments)
            assert frame.get("error", {}).get("error") != 500, (name, arguments, frame)


def _argument(kind: Any, text: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _argument(typing.get_args(kind)[0], text)
    if origin in (types.UnionType, typing.Union):
        return _argument(typing.get_args(kind)[0], text)
    if origin is list:
        return [_argument(typing.get_args(kind)[0], text)]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return {field.encode_name: _of_field(field, text) for field in fields}
    return {str: text, int: 50, float: 1.0, bool: True}.get(kind, {})


def _of_field(field: Any, text: str) -> Any:
    if field.encode_name == "$date":
        return NOW
    kind = field.type
    name = field.encode_name
    if name in SAMPLES and (kind is str or str in typing.get_args(kind)):
        return SAMPLES[name][0]
    if name == "_id":
        return _MESSAGE
    return _argument(kind, text)
