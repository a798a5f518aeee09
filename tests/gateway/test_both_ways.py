"""Each DDP method that clients call in daily use gives the same on a socket and through `method.call`.

A method is called in both ways, each time by somebody of its own with things of their own; what differs between the two
(ids, names, dates) is taken out, and the rest must be equal. So is what wrong arguments and nobody's calls get to hear.
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from palaver.gateway.ddp.method import methods_of
from palaver.gateway.ddp.methods import METHOD_MODULES
from tests.gateway.ddp import DdpClient, RunningGateway
from tests.gateway.examples import PNG, Cast, World
from tests.gateway.rest import PASSWORD, Client, as_admin

DECLARED = methods_of(*METHOD_MODULES)
_FACTS = Path(__file__).parents[1] / "api" / "realtime-methods.jsonl"
_ROWS = [json.loads(line) for line in _FACTS.read_text(encoding="utf-8").splitlines()]
METHODS = sorted(row["method"] for row in _ROWS if row.get("priority") in (1, 2) and row["method"] in DECLARED)

LONG_AGO = {"$date": 1_704_067_200_000}

EXAMPLES: dict[str, list[Any]] = {
    "UserPresence:setDefaultStatus": ["busy"],
    "addUsersToRoom": [{"rid": "{room}", "users": ["{stranger name}"]}],
    "archiveRoom": ["{room}"],
    "blockUser": [{"rid": "{direct room}", "blocked": "{target}"}],
    "createChannel": ["{new name}", ["{target name}"], False],
    "createDirectMessage": ["{target name}"],
    "createPrivateGroup": ["{new name}", ["{target name}"]],
    "deleteFileMessage": ["{upload}"],
    "deleteMessage": [{"_id": "{own message}"}],
    "e2e.getUsersOfRoomWithoutKey": ["{room}"],
    "e2e.setRoomKeyID": ["{room}", "thekeyid"],
    "eraseRoom": ["{room}"],
    "followMessage": [{"mid": "{message}"}],
    "getMessages": [["{message}", "{own message}"]],
    "getReadReceipts": [{"messageId": "{message}"}],
    "getRoomById": ["{room}"],
    "getRoomByTypeAndName": ["c", "{room name}"],
    "getRoomIdByNameOrId": ["{room name}"],
    "getRoomNameById": ["{room}"],
    "getRoomRoles": ["{room}"],
    "getSingleMessage": ["{message}"],
    "getThreadMessages": [{"tmid": "{message}"}],
    "getUsersOfRoom": ["{room}", True],
    "hideRoom": ["{room}"],
    "joinRoom": ["{open room}"],
    "leaveRoom": ["{room}"],
    "loadHistory": ["{room}", None, 20, None, True],
    "loadLocale": ["en"],
    "loadMissedMessages": ["{room}", LONG_AGO],
    "loadNextMessages": ["{room}", LONG_AGO, 20],
    "loadSurroundingMessages": [{"_id": "{message}", "rid": "{room}"}, 20],
    "login": [{"user": {"username": "boss"}, "password": "an admin's password"}],
    "muteUserInRoom": [{"rid": "{room}", "username": "{target name}"}],
    "openRoom": ["{room}"],
    "pinMessage": [{"_id": "{message}"}],
    "readThreads": ["{message}"],
    "registerUser": [{"email": "{new name}@example.org", "pass": PASSWORD, "username": "{new name}", "name": "New"}],
    "reportMessage": ["{message}", "because"],
    "rocketchatSearch.search": ["hello", {"rid": "{room}"}, {}],
    "saveRoomSettings": ["{room}", "roomTopic", "T"],
    "saveSettings": [[{"_id": "Message_AllowPinning", "value": True}]],
    "saveUserProfile": [{"realname": "Another"}, {}],
    "sendConfirmationEmail": ["nobody@example.org"],
    "sendMessage": [{"rid": "{room}", "msg": "hello"}],
    "setAvatarFromService": [f"data:image/png;base64,{b64encode(PNG).decode()}", "image/png", "upload"],
    "setReaction": [":smile:", "{message}"],
    "setUserPassword": ["another password of theirs"],
    "setUserStatus": ["busy", "at lunch"],
    "setUsername": ["{new name}"],
    "slashCommand": [{"cmd": "shrug", "params": "x", "msg": {"_id": "{new name}", "rid": "{room}", "msg": "/shrug x"}}],
    "spotlight": ["person", [], {"users": True, "rooms": True}],
    "starMessage": [{"_id": "{message}", "rid": "{room}", "starred": True}],
    "toggleFavorite": ["{room}", True],
    "unarchiveRoom": ["{archived room}"],
    "unblockUser": [{"rid": "{direct room}", "blocked": "{target}"}],
    "unfollowMessage": [{"mid": "{message}"}],
    "unmuteUserInRoom": [{"rid": "{room}", "username": "{target name}"}],
    "unpinMessage": [{"_id": "{pinned message}"}],
    "unreadMessages": [{"_id": "{message}"}, None],
    "updateMessage": [{"_id": "{own message}", "rid": "{room}", "msg": "other"}],
    "userSetUtcOffset": [2],
    "listEmojiCustom": [{}],
    "executeSlashCommandPreview": [
        {"cmd": "giphy", "params": "x", "msg": {"rid": "{room}"}},
        {"id": "1", "type": "image", "value": "x"},
    ],
    "getSlashCommandPreviews": [{"cmd": "giphy", "params": "x", "msg": {"rid": "{room}"}}],
}
"""The arguments of a call that is answered; those that are not here take none."""

REFUSED: dict[str, str] = {
    "executeSlashCommandPreview": "error-invalid-command",
    "getSlashCommandPreviews": "error-invalid-command",
    "sendConfirmationEmail": "error-smtp-not-configured",
}
"""What the examples get to hear that ask for what there is not in these tests."""


WRONG: tuple[list[Any], ...] = ([{"$ne": ""}] * 4, [7] * 4, ["unknown"] * 4, [[]])


@pytest.fixture
async def admin(gateway: RunningGateway) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(base_url=f"{gateway.url}/api/v1/", timeout=60) as http:
        yield await as_admin(Client(http, gateway.node))


@pytest.fixture
async def cast(admin: Client) -> Cast:
    people = {username: await admin.make_user(username) for username in ("mel", "max", "gus")}
    rest = dict.fromkeys(("owner", "member", "guest", "outsider"), people["mel"])
    return Cast(nobody=Client(admin.http, admin.node), admin=admin, moderator=people["max"], **rest)


_numbers = count(1)


async def by_rest(caller: Client, socket: DdpClient, method: str, arguments: list[Any]) -> dict[str, Any]:
    return await caller.call(method, *arguments)


async def by_socket(caller: Client, socket: DdpClient, method: str, arguments: list[Any]) -> dict[str, Any]:
    return await socket.call(method, *arguments)


WAYS = (by_rest, by_socket)


def told(frame: dict[str, Any]) -> dict[str, Any]:
    """What a result says, without what is another one each time."""
    return {name: _alike(frame[name]) for name in ("result", "error") if name in frame}


def _alike(value: Any) -> Any:
    """A value with texts and numbers that may differ between two callers as the names of their types."""
    if isinstance(value, dict):
        return {name: _alike(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_alike(inner) for inner in value]
    if isinstance(value, str):
        return value if value.startswith(("error-", "Meteor.")) or value.isdigit() else "text"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else value


async def test_both_ways_give_the_same(gateway: RunningGateway, cast: Cast) -> None:
    wrong: list[str] = []
    await cast.admin.post("settings/E2E_Enable", value=True)
    for method in METHODS:
        calls: list[tuple[Client, DdpClient, list[Any]]] = []
        for _ in WAYS:
            username = f"caller{next(_numbers)}"
            caller = await cast.admin.make_user(username, roles=["admin", "user"])
            arguments = await World(cast, caller, "channels", (username,)).fill(EXAMPLES.get(method, []))
            calls.append((caller, await gateway.client(caller.headers), arguments))
        answers = [
            told(await way(caller, socket, method, arguments))
            for way, (caller, socket, arguments) in zip(WAYS, calls, strict=True)
        ]
        if answers[0] != answers[1]:
            wrong.append(f"{method}: {answers[0]} by REST, {answers[1]} on the socket")
        elif answers[0].get("error", {}).get("error") != REFUSED.get(method):
            wrong.append(f"{method}'s example is not answered: {answers[0]}")
    assert not wrong, "\n".join(wrong)


async def test_both_ways_refuse_alike(gateway: RunningGateway, cast: Cast) -> None:
    """Wrong arguments, and none, and calls of nobody."""
    wrong: list[str] = []
    nobody = await gateway.client()
    for method in METHODS:
        if method in ("login", "logout"):
            continue  # answered by the socket itself: see test_ddp_protocol.py
        username = f"caller{next(_numbers)}"
        caller = await cast.admin.make_user(username)
        socket = await gateway.client(caller.headers)
        for arguments in WRONG:
            first = told(await by_rest(caller, socket, method, arguments))
            if "error" not in first:
                break  # these are taken; what was done may have ended the login
            second = told(await by_socket(caller, socket, method, arguments))
            if first != second:
                wrong.append(f"{method} {arguments}: {first} by REST, {second} on the socket")
        first, second = told(await cast.nobody.call(method, anonymous=True)), told(await nobody.call(method))
        if first != second:
            wrong.append(f"{method} by nobody: {first} by REST, {second} on the socket")
    assert not wrong, "\n".join(wrong)


def test_the_examples_are_of_methods_that_are_there() -> None:
    assert EXAMPLES.keys() <= set(METHODS)
