"""Wrong input to every endpoint: refused in the documented form, whatever the rest of the call is; nothing is changed.

Each parameter of an endpoint's example is replaced by everything that a client should not send. What its declared type
does not take must be refused; what it takes may be answered, but never by a failure.
"""

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import msgspec
import pytest

from palaver.database import CommitOrder
from palaver.gateway import rest
from palaver.gateway.rest.endpoint import Endpoint, endpoints_of, is_strict
from palaver.v1.event_pb2 import Event
from tests.gateway.examples import Cast, World, example_of
from tests.gateway.rest import Client, as_admin
from tests.gateway.test_every_endpoint import HOSTILE, name, short_name

ABSENT = object()
VALUES: tuple[Any, ...] = (
    ABSENT,
    *HOSTILE,
    True,
    7,
    0.5,
    "",
    "x" * 70_000,
    [],
    {},
    [["a"]],
    "%",
    "a\u0000b",
    "\U0010ffff",
)
TEXTS = ("", "{", "abc", "-1", "9" * 30, "1e5", "\u0000", "%", "x" * 5000, '{"$where":"1"}', '{"a":{"$regex":"("}}')
"""What comes in a query, where everything is text."""

BODIES: tuple[tuple[str, bytes], ...] = (
    ("application/json", b"{"),
    ("application/json", b"[]"),
    ("application/json", b'"text"'),
    ("application/json", b"7"),
    ("application/json", b"\xff\xfe{}"),
    ("application/json", b'{"\\ud800": "\\udfff"}'),
    ("application/json", b'{"a": NaN}'),
    ("application/json", b"[" * 100_000),
    ("application/json", b'{"a":' * 300 + b"1" + b"}" * 300),
    ("text/xml", b"<a/>"),
    ("multipart/form-data", b"no boundary"),
    ("multipart/form-data; boundary=x", b"--x\r\nnonsense"),
)
"""What is no valid body of any endpoint that has one."""


def is_documented(answer: httpx.Response) -> bool:
    """Whether an error has the form that clients know."""
    if answer.headers["content-type"] != "application/json":
        return False
    body = answer.json()
    if body.get("status") == "error":
        return isinstance(body["message"], str)
    return bool(body["success"] is False) and isinstance(body.get("error", ""), str)


def takes(kind: type[msgspec.Struct], parameters: dict[str, Any], *, strict: bool) -> bool:
    """Whether the declared type takes these parameters."""
    try:
        msgspec.convert(parameters, kind, strict=strict)
    except msgspec.ValidationError:
        return False
    return True


def changed(example: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    return {**{n: v for n, v in example.items() if n != field}, **({} if value is ABSENT else {field: value})}


def wrong_bodies(kind: type[msgspec.Struct], example: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Bodies, and whether each must be refused."""
    fields = [field.encode_name for field in msgspec.structs.fields(kind)]
    tried = [changed(example, field, value) for field in fields for value in VALUES]
    tried += [dict.fromkeys(fields, value) for value in HOSTILE]
    for body in [*tried, {"__proto__": {}}, {**example, "unknown field": 1}]:
        text = json.dumps(body)
        yield body, text.count("{") > 64 or not takes(kind, body, strict=True)


def wrong_queries(kind: type[msgspec.Struct], example: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    for field in msgspec.structs.fields(kind):
        for value in (ABSENT, *TEXTS):
            query = changed(example, field.encode_name, value)
            yield query, not takes(kind, query, strict=False)
        for suffix in ("[]", "[$ne]"):
            yield {**example, f"{field.encode_name}{suffix}": "x"}, suffix == "[$ne]" and is_strict(kind)


class Record:
    """What a caller's requests have committed."""

    def __init__(self, client: Client) -> None:
        database = client.node.database
        assert isinstance(database, CommitOrder)
        self._database = database
        self._place = 0

    async def list_new(self, user_id: str) -> list[Event]:
        """What this user has done since it was last asked for. What follows from it elsewhere is nobody's."""
        before = self._place
        while True:
            _, place = await self._database.list_committed("room", self._place)
            if place == self._place:
                break
            self._place = place
        if self._place == before:
            return []
        found: list[Event] = []
        for kind in ("workspace", "user", "room"):
            events, _ = await self._database.list_committed(kind, before, limit=self._place - before)
            found += [event for _, event in events if event.actor.id == user_id]
        return found


async def attack(record: Record, declared: Endpoint, caller: Client, path: str, example: dict[str, Any]) -> None:
    """Sends everything that is wrong to one endpoint."""

    async def send(what: Any, *, must_refuse: bool, **options: Any) -> None:
        nonlocal caller
        answer = await caller.request(declared.method, path, **options)
        told = (name(declared), str(what)[:300], answer.status_code, answer.text[:300])
        # 501 is what a feature answers that is asked for and not there.
        assert answer.status_code < 500 or answer.status_code == 501, told
        assert not must_refuse or answer.status_code >= 400, told
        done = await record.list_new(caller.user_id)
        if answer.status_code >= 400:
            assert is_documented(answer), told
            assert not done, (told, done)
        if answer.status_code == 401:
            caller = await as_admin(Client(caller.http, caller.node))
            await record.list_new(caller.user_id)

    if declared.body is not None:
        for body, must_refuse in wrong_bodies(declared.body, example):
            await send(body, must_refuse=must_refuse, json=body)
        for content_type, data in BODIES:
            await send(data[:80], must_refuse=True, content=data, headers={"Content-Type": content_type})
    if declared.query is not None:
        for query, must_refuse in wrong_queries(declared.query, example):
            await send(query, must_refuse=must_refuse, params=query)


@pytest.mark.parametrize("module", rest.ENDPOINT_MODULES, ids=short_name)
async def test_wrong_input_is_refused_and_changes_nothing(anybody: Client, module: ModuleType) -> None:
    record = Record(anybody)
    admin = await as_admin(anybody)
    people = {username: await admin.make_user(username) for username in ("mel", "max", "gus")}
    everybody = dict.fromkeys(("owner", "member", "guest", "outsider"), people["mel"])
    for declared in endpoints_of(module):
        admin = await as_admin(anybody)
        cast = Cast(nobody=anybody, admin=admin, moderator=people["max"], **everybody)
        example = await World(cast, admin, declared.path.partition(".")[0]).fill(example_of(declared))
        path = "/".join(
            example.pop(part[1:], "unknown") if part.startswith(":") else part for part in declared.path.split("/")
        )
        await record.list_new(admin.user_id)
        await attack(record, declared, admin, path, example)


async def test_a_change_would_be_noticed(admin: Client) -> None:
    record = Record(admin)
    await record.list_new(admin.user_id)
    await admin.post("roles.create", name="one")
    assert [event.WhichOneof("fact") for event in await record.list_new(admin.user_id)] == ["role_saved"]
    await admin.post("roles.create", 400)
    assert await record.list_new(admin.user_id) == []
