"""What a started server answers to those who mean no good: nothing that they should not know, and never a 500."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.process import ADMIN, PalaverProcess

OPERATORS: tuple[Any, ...] = ({"$ne": ""}, {"$gt": ""}, {"$regex": ".*"}, [{"$ne": ""}], 5, True)


class User:
    """Somebody who is logged in; `password` is what `login` takes."""

    def __init__(self, server: PalaverProcess, name: str, password: str) -> None:
        self.http = httpx.Client(base_url=f"{server.url}/api/v1/", timeout=60)
        data = self.http.post("login", json={"user": name, "password": password}).json()["data"]
        self.http.headers.update({"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]})

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.http.get(path, params=parameters)


@pytest.fixture(scope="module")
def boss(server: PalaverProcess) -> Iterator[User]:
    user = User(server, ADMIN["user"], ADMIN["password"])
    yield user
    user.http.close()


@pytest.fixture(scope="module")
def mallory(server: PalaverProcess, boss: User) -> Iterator[User]:
    body = {"username": "mallory", "name": "M", "email": "m@example.org", "password": "pw of mallory", "verified": True}
    assert boss.post("users.create", body).status_code == 200
    user = User(server, "mallory", "pw of mallory")
    yield user
    user.http.close()


@pytest.fixture(scope="module")
def secret(boss: User) -> dict[str, str]:
    """Ids of a private room and of a message in it."""
    room_id = boss.post("groups.create", {"name": "secret"}).json()["group"]["_id"]
    sent = boss.post("chat.postMessage", {"roomId": room_id, "text": "the code is 1234"}).json()
    return {"room": room_id, "message": sent["message"]["_id"]}


def told(answer: httpx.Response, id: str) -> tuple[Any, ...]:
    """All that an answer tells, but for what differs by itself and the id that was asked for."""
    varying = ("date", "x-request-id", "content-length")
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in varying)
    return answer.status_code, headers, answer.text.replace(id, "…")


@pytest.mark.parametrize(
    ("path", "name", "more"),
    [
        ("groups.info", "roomId", {}),
        ("groups.history", "roomId", {}),
        ("groups.members", "roomId", {}),
        ("groups.roles", "roomId", {}),
        ("channels.info", "roomId", {}),
        ("im.messages", "roomId", {}),
        ("rooms.info", "roomId", {}),
        ("rooms.isMember", "roomId", {"username": "boss"}),
        ("subscriptions.getOne", "roomId", {}),
        ("chat.search", "roomId", {"searchText": "code"}),
        ("chat.syncMessages", "roomId", {"lastUpdate": "2020-01-01T00:00:00Z"}),
        ("chat.getThreadsList", "rid", {}),
    ],
)
def test_a_forbidden_room_is_an_unknown_one(
    mallory: User, secret: dict[str, str], path: str, name: str, more: dict[str, str]
) -> None:
    unknown = "q" * 17
    forbidden = mallory.get(path, **{name: secret["room"], **more})
    nowhere = mallory.get(path, **{name: unknown, **more})
    assert told(forbidden, secret["room"]) == told(nowhere, unknown)
    assert "1234" not in forbidden.text


@pytest.mark.parametrize(
    ("path", "name", "more"),
    [
        ("chat.postMessage", "roomId", {"text": "x"}),
        ("channels.join", "roomId", {}),
        ("groups.leave", "roomId", {}),
        ("groups.invite", "roomId", {"username": "mallory"}),
        ("groups.setTopic", "roomId", {"topic": "x"}),
        ("groups.delete", "roomId", {}),
        ("rooms.delete", "roomId", {}),
        ("rooms.saveRoomSettings", "rid", {"roomTopic": "x"}),
        ("rooms.muteUser", "roomId", {"username": "boss"}),
        ("rooms.favorite", "roomId", {"favorite": True}),
        ("subscriptions.read", "rid", {}),
    ],
)
def test_a_forbidden_room_can_be_changed_as_little_as_an_unknown_one(
    mallory: User, boss: User, secret: dict[str, str], path: str, name: str, more: dict[str, Any]
) -> None:
    unknown = "q" * 17
    before = boss.get("rooms.info", roomId=secret["room"]).json()
    forbidden = mallory.post(path, {name: secret["room"], **more})
    nowhere = mallory.post(path, {name: unknown, **more})
    assert forbidden.status_code == 400
    assert told(forbidden, secret["room"]) == told(nowhere, unknown)
    assert boss.get("rooms.info", roomId=secret["room"]).json() == before


def test_a_forbidden_message_is_an_unknown_one(mallory: User, secret: dict[str, str]) -> None:
    unknown = "q" * 17
    for path, name in (("chat.getMessage", "msgId"), ("chat.getThreadMessages", "tmid")):
        forbidden, nowhere = mallory.get(path, **{name: secret["message"]}), mallory.get(path, **{name: unknown})
        assert told(forbidden, secret["message"]) == told(nowhere, unknown)
    for path, name, more in (
        ("chat.react", "messageId", {"emoji": "x"}),
        ("chat.delete", "msgId", {"roomId": "GENERAL"}),
        ("chat.update", "msgId", {"roomId": "GENERAL", "text": "x"}),
        ("chat.followMessage", "mid", {}),
    ):
        forbidden = mallory.post(path, {name: secret["message"], **more})
        nowhere = mallory.post(path, {name: unknown, **more})
        assert told(forbidden, secret["message"]) == told(nowhere, unknown)


@pytest.mark.parametrize(
    ("path", "name", "more"),
    [
        ("login", "user", {"password": "x"}),
        ("login", "password", {"user": "boss"}),
        ("login", "resume", {}),
        ("channels.create", "name", {}),
        ("channels.join", "roomId", {}),
        ("channels.delete", "roomName", {}),
        ("groups.invite", "userId", {"roomName": "secret"}),
        ("im.create", "username", {}),
        ("rooms.leave", "roomId", {}),
        ("subscriptions.read", "rid", {}),
        ("chat.postMessage", "text", {"roomId": "GENERAL"}),
        ("chat.sendMessage", "message", {}),
        ("chat.delete", "msgId", {"roomId": "GENERAL"}),
        ("chat.react", "messageId", {"emoji": "x"}),
        ("users.info", "username", {}),
    ],
)
def test_operators_instead_of_strings_are_refused(mallory: User, path: str, name: str, more: dict[str, Any]) -> None:
    for operator in OPERATORS:
        answer = mallory.post(path, {name: operator, **more})
        assert answer.status_code == (405 if path == "users.info" else 400), (operator, answer.text)


def test_operators_in_an_address_are_text(mallory: User) -> None:
    for parameters in ({"roomId[$ne]": "x"}, {"roomId": '{"$ne":""}'}, {"roomName[$regex]": ".*"}):
        assert mallory.get("groups.info", **parameters).status_code == 400
    for query in ('{"$where":"1"}', '{"name":{"$function":1}}', '{"services.password":{"$exists":true}}', "[" * 5000):
        assert mallory.get("channels.list", query=query).json()["errorType"] == "error-invalid-query"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'"text"', "application/json"),
        (b"[]", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"name":"\\ud800"}', "application/json"),
        (json.dumps({"name": "x", "members": "a" * 100}).encode(), "application/json"),
        (b"%ff=%fe&name=x%00", "application/x-www-form-urlencoded"),
        (b"&".join(b"a[]=1" for _ in range(5000)), "application/x-www-form-urlencoded"),
        (b"x" * (5 * 1024 * 1024 + 1), "application/json"),
    ],
)
def test_bodies_that_are_none(mallory: User, content: bytes, content_type: str) -> None:
    answer = mallory.http.post("channels.create", content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 400, answer.text
    assert answer.json()["success"] is False


def test_paths_that_lead_nowhere(mallory: User) -> None:
    for path in (
        "..%2f..%2fetc%2fpasswd",
        "channels.info%00",
        "settings/..%2f..%2f",
        "method.call/",
        "%ff",
        "a" * 4000,
    ):
        assert mallory.http.get(path).status_code in (400, 404, 405), path


def test_numbers_out_of_range(mallory: User) -> None:
    for parameters in (
        {"offset": -1},
        {"count": -1},
        {"offset": 2**63},
        {"count": 2**31},
        {"count": "1e9"},
        {"count": "NaN"},
    ):
        assert mallory.get("channels.list", **parameters).status_code in (200, 400), parameters
    for date in ("9" * 16, "-" + "9" * 16, "0000-00-00", "2024-13-01", "10000-01-01T00:00:00Z", "１２３４５６７８９０"):
        assert mallory.get("rooms.get", updatedSince=date).status_code in (200, 400), date
