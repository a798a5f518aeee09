"""Wrong arguments to every DDP method, by both ways in: refused in the form that clients know, and nothing is changed.

Each argument of a method's example, and each field within one, is replaced by everything that a client should not
send. What the declared type does not take must be refused; what it takes may be answered, but never by a failure.
Frames that are no call of a method are in `test_wrong_frames.py`, the same for endpoints in `test_wrong_input.py`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import msgspec
import pytest

from palaver.gateway.ddp.method import Method, methods_of
from palaver.gateway.ddp.methods import METHOD_MODULES
from tests.gateway.ddp import DdpClient, RunningGateway
from tests.gateway.examples import Cast, World
from tests.gateway.method_examples import example_of_method, fields_of
from tests.gateway.rest import Client, as_admin
from tests.gateway.test_every_endpoint import DEEP, ENDS_LOGINS, HOSTILE, nested
from tests.gateway.test_wrong_input import ABSENT, Record, changed

VALUES: tuple[Any, ...] = (
    ABSENT,
    *(nested(30) if value == DEEP else value for value in HOSTILE),
    True,
    7,
    0.5,
    2**63,
    "",
    "x" * 70_000,
    "%",
    "a\u0000b",
    "\U0010ffff",
    "Invalid Date",
    "constructor",
    [],
    {},
    [["a"]],
    [None],
    {"$date": None},
    {"$date": 0.5},
    {"$date": -(2**60)},
    {"a.b": {"$set": {"": 1}}},
)
KEYS = ("$where", "a.b", "", "__proto__", "x" * 5000)
"""What no field of an object is called."""

SETTINGS = {
    "E2E_Enable": True,
    "Message_CustomFields_Enabled": True,
    "Message_CustomFields": '{"properties":{"a":{"type":"string"}}}',
}
"""What must be on for the methods to look at all their arguments."""

Caller = Client | DdpClient
Enter = Callable[[], Awaitable[Caller]]


def everything_wrong(kind: Any, value: Any) -> Iterator[Any]:
    """What can stand where a value of this type is expected, and should not."""
    yield from VALUES
    if isinstance(value, dict):
        known = fields_of(kind)
        for field in {**known, **value}:
            for other in everything_wrong(known.get(field, Any), value.get(field)):
                yield changed(value, field, other)
        yield from ({**value, key: 1} for key in KEYS)
    elif isinstance(value, list) and value:
        (inner,) = getattr(kind, "__args__", (Any,))[:1]
        yield from ([other, *value[1:]] for other in everything_wrong(inner, value[0]) if other is not ABSENT)


def wrong_arguments(declared: Method, example: list[Any]) -> Iterator[list[Any]]:
    for index, kind in enumerate(declared.parameters):
        given = [*example, *[None] * (index + 1 - len(example))]
        for value in everything_wrong(kind, given[index]):
            yield given[:index] if value is ABSENT else [*given[:index], value, *given[index + 1 :]]
    yield [*example, *(value for value in VALUES if value is not ABSENT)]
    yield [*example, *["x"] * 5000]


def takes(declared: Method, arguments: list[Any]) -> bool:
    """Whether the declared types take these arguments: those that are absent are null, surplus ones go unread."""
    kinds = declared.parameters
    if declared.variadic:
        kinds = (*kinds[:-1], *kinds[-1:] * (len(arguments) - len(kinds) + 1))
    given = [*arguments, *[None] * (len(kinds) - len(arguments))]
    try:
        for value, kind in zip(given, kinds, strict=False):
            msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def must_refuse(declared: Method, arguments: list[Any]) -> bool:
    """An empty string at the end counts as absent where it has no place."""
    without = arguments[:-1] if arguments and arguments[-1] == "" else arguments
    return not takes(declared, arguments) and not takes(declared, without)


def is_documented(error: dict[str, Any]) -> bool:
    """Whether an error has the form that clients know, and is no failure of the server's."""
    code, reason = error["error"], error["reason"]
    return (
        code not in (500, "error-unavailable")
        and isinstance(code, str | int)
        and isinstance(reason, str)
        and error["message"] == f"{reason} [{code}]"
        and (error["isClientSafe"], error["errorType"]) == (True, "Meteor.Error")
        and error.keys() <= {"error", "reason", "message", "details", "isClientSafe", "errorType"}
    )


async def attack(record: Record, declared: Method, user_id: str, enter: Enter, example: list[Any]) -> None:
    """Calls one method with everything that is wrong."""
    caller = await enter()
    # Half of it by each way: they meet before the arguments are looked at.
    for arguments in islice(wrong_arguments(declared, example), isinstance(caller, DdpClient), None, 2):
        if isinstance(caller, DdpClient):
            caller.frames.clear()
        frame = await caller.call(declared.name, *arguments)
        told = (declared.name, str(arguments)[:500], str(frame)[:500])
        done = await record.list_new(user_id)
        if must_refuse(declared, arguments):
            assert frame.get("error", {}).get("error") == 400, told
        if "error" in frame:
            assert is_documented(frame["error"]), told
            assert not done, (told, done)
        if declared.name in ENDS_LOGINS:
            caller = await enter()


@pytest.fixture
async def anybody(gateway: RunningGateway) -> AsyncIterator[Client]:
    way = httpx.ASGITransport(app=gateway.node.roles["gateway"].app)  # type: ignore[attr-defined]
    async with httpx.AsyncClient(transport=way, base_url=gateway.http.base_url) as http:
        yield Client(http, gateway.node)


@pytest.mark.parametrize("way", ["method.call", "websocket"])
async def test_wrong_arguments_are_refused_and_change_nothing(
    gateway: RunningGateway, anybody: Client, way: str
) -> None:
    record, admin = Record(anybody), await as_admin(anybody)
    for setting_id, value in SETTINGS.items():
        await admin.post(f"settings/{setting_id}", value=value)
    people = {username: await admin.make_user(username) for username in ("mel", "max", "gus")}
    everybody = dict.fromkeys(("owner", "member", "guest", "outsider"), people["mel"])
    cast = Cast(nobody=anybody, admin=admin, moderator=people["max"], **everybody)
    for number, declared in enumerate(methods_of(*METHOD_MODULES).values()):
        # Another one each time: the method may be one that changes its caller.
        username = f"admin{number}"
        caller = await admin.make_user(username, roles=["admin"])

        async def enter(username: str = username) -> Caller:
            client = await anybody.login(username)
            entered = client if way == "method.call" else await gateway.client(client.headers)
            await record.list_new(client.user_id)
            return entered

        example = await World(cast, caller, "channels", (username,)).fill(example_of_method(declared))
        assert takes(declared, example), (declared.name, example)
        await attack(record, declared, caller.user_id, enter, example)
