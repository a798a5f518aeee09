"""The framework of the REST surface: validation, its order, errors, hostile bodies, forms, paging, limits."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from palaver.gateway.rest.dispatch import MAX_BODY_BYTES
from palaver.gateway.rest.errors import check_one_given
from tests.gateway.rest import Client, as_admin, read, running_api
from tests.gateway.things import surface


@pytest.fixture
async def things(anybody: Client) -> AsyncIterator[Client]:
    client = surface(anybody)
    yield client
    await client.http.aclose()


async def test_body_arrives_typed(things: Client) -> None:
    answer = await things.post("things.create", name="n", roomId="r", members=["a"], isOpen=True, count=3)
    assert answer["thing"] == {"name": "n", "roomId": "r", "members": ["a"], "isOpen": True, "count": 3}
    assert answer["success"] is True


async def test_alias_and_trailing_slash(things: Client) -> None:
    assert (await things.post("things.make", name="n"))["thing"] == {"name": "n"}
    assert (await things.post("things.make/", name="n"))["thing"] == {"name": "n"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "must have required property 'name'"),
        ({"name": {"$ne": ""}}, "must be string"),
        ({"name": None}, "must be string"),
        ({"name": ["n"]}, "must be string"),
        ({"name": 7}, "must be string"),
        ({"name": "n", "surplus": 1}, "must NOT have additional properties"),
        ({"name": "n", "members": "a"}, "must be array"),
        ({"name": "n", "members": [{"$gt": ""}]}, "must be string"),
        ({"name": "n", "isOpen": "true"}, "must be boolean"),
        ({"name": "n", "count": "3"}, "must be number"),
        ({"name": "n", "inner": {}}, "must have required property 'name'"),
        ([], "must be object"),
        ("name", "must be object"),
        (None, "must be object"),
    ],
)
async def test_invalid_body(things: Client, body: Any, error: str) -> None:
    answer = read(await things.request("POST", "things.create", content=json.dumps(body)), 400)
    assert answer["error"] == f"{error} [invalid-params]"
    assert answer["errorType"] == "invalid-params"
    assert answer["success"] is False


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Match error: Missing key 'name'"),
        ({"name": True}, "Match error: Expected string, got boolean in field name"),
        ({"name": "n", "inner": {"a": 1}}, "Match error: Expected string, got number in field inner[0]"),
        ({"name": "n", "names": "a"}, "Match error: Expected array, got string in field names"),
        ({"name": "n", "names": [{}]}, "Match error: Expected string, got object in field names[0]"),
    ],
)
async def test_invalid_loose_body(things: Client, body: Any, error: str) -> None:
    answer = read(await things.request("POST", "things.loose", json=body), 400)
    assert answer == {"success": False, "error": error}


async def test_loose_body_ignores_what_it_does_not_know(things: Client) -> None:
    assert (await things.post("things.loose", name="n", surplus={"$where": "1"}))["thing"] == {"name": "n"}


async def test_endpoint_with_an_error_of_its_own(things: Client) -> None:
    answer = await things.post("things.own-error", 400)
    assert answer == {"success": False, "error": "Odd. [error-odd]", "errorType": "error-odd"}


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"name": "n"',
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"name": NaN}',
        b'{"name": "n"} trailing',
        b"name=n",
    ],
)
async def test_hostile_json(things: Client, content: bytes) -> None:
    answer = await things.request("POST", "things.create", content=content)
    assert read(answer, 400)["success"] is False


async def test_huge_body_is_refused(things: Client) -> None:
    content = b'{"name": "' + b"n" * MAX_BODY_BYTES + b'"}'
    answer = read(await things.request("POST", "things.create", content=content), 400)
    assert answer["errorType"] == "error-body-too-large"

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 2):
            yield b" " * 65536

    answer = read(await things.request("POST", "things.create", content=chunks()), 400)
    assert answer["errorType"] == "error-body-too-large"


@pytest.mark.parametrize("length", ["²", "x", "9" * 40])
async def test_odd_content_length(things: Client, length: str) -> None:
    headers = [(b"content-length", length.encode("latin-1", "replace"))]
    request = things.http.build_request("POST", "things.create", content=b'{"name":"n"}')
    request.headers = httpx.Headers(headers)
    assert (await things.http.send(request)).status_code in (200, 400)


async def test_form(things: Client) -> None:
    form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    content = "name=a+b%C3%A9&members[]=x&members%5B%5D=y&isOpen=true&count=3"
    answer = read(await things.request("POST", "things.create", content=content, headers=form))
    assert answer["thing"] == {"name": "a bé", "members": ["x", "y"], "isOpen": True, "count": 3}


@pytest.mark.parametrize("content", [b"\xff=1", b"&".join([b"a=1"] * 2000), b"name=a&name=b", b"name[$ne]=1"])
async def test_hostile_form(things: Client, content: bytes) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert read(await things.request("POST", "things.create", content=content, headers=form), 400)


async def test_query(things: Client) -> None:
    answer = await things.get("things.find", name="7", count="3", wanted="true", ids="a,b")
    assert answer["query"] == {"name": "7", "count": 3, "wanted": True, "ids": "a,b"}
    for path in ("things.find?name=n&ids[]=a&ids[]=b", "things.find?name=n&ids=a&ids=b"):
        assert (await things.get(path))["query"]["ids"] == ["a", "b"]
    assert (await things.get("things.find?name=n&ids[]=a"))["query"]["ids"] == ["a"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("things.find", "must have required property 'name'"),
        ("things.find?name=a&count=x", "must be number"),
        ("things.find?name=a&name=b", "must be string"),
        ("things.find?name[]=a", "must be string"),
        ("things.find?name=a&other=b", "must NOT have additional properties"),
        ("things.find?name=a&wanted=perhaps", "must be boolean"),
    ],
)
async def test_invalid_query(things: Client, path: str, error: str) -> None:
    assert (await things.get(path, 400))["error"] == f"{error} [invalid-params]"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("things.page", [0, 50]),
        ("things.page?count=10&offset=3", [3, 10]),
        ("things.page?count=1000", [0, 100]),
        ("things.page?count=0", [0, 0]),
        ("things.page?count=-1&offset=-5", [0, 50]),
        ("things.page?offset=99999999999", [2**31 - 1, 50]),
    ],
)
async def test_paging_and_dates(things: Client, path: str, expected: list[int]) -> None:
    answer = await things.get(path)
    assert answer["page"] == expected
    assert answer["when"] == "2023-11-14T22:13:20.123Z"


async def test_infinite_count_is_a_setting(things: Client, admin: Client) -> None:
    await admin.post("settings/API_Allow_Infinite_Count", value=False)
    await admin.post("settings/API_Default_Count", value=20)
    await admin.post("settings/API_Upper_Count_Limit", value=30)
    assert (await things.get("things.page?count=0"))["page"] == [0, 20]
    assert (await things.get("things.page?count=99"))["page"] == [0, 30]


@pytest.mark.parametrize("path", ["things.page?count=x", "things.page?offset=x", "things.page?count[]=1"])
async def test_invalid_paging(things: Client, path: str) -> None:
    assert (await things.get(path, 400))["error"].startswith("Match error: ")


async def test_login_comes_before_parameters_before_permission(anybody: Client, admin: Client) -> None:
    nobody = surface(anybody)
    refused = {"status": "error", "message": "You must be logged in to do this."}
    assert await nobody.post("things.known", 401, surplus=1) == refused
    user = surface(await admin.make_user("alice"))
    assert (await user.post("things.known", 400))["errorType"] == "invalid-params"
    assert await user.post("things.known", 403, name="n") == {
        "success": False,
        "error": "User does not have the permissions required for this action [error-unauthorized]",
    }
    assert (await surface(admin).post("things.known", name="n"))["user"] == "boss"
    assert await user.post("things.any") == {"success": True}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Auth-Token": "wrong"},
        {"X-Auth-Token": "wrong", "X-User-Id": "theAdmin"},
        {"X-Auth-Token": "", "X-User-Id": ""},
        {"X-User-Id": "theAdmin"},
        {"X-Auth-Token": "x" * 20_000, "X-User-Id": "theAdmin"},
        {"X-Auth-Token": '{"$ne":""}', "X-User-Id": '{"$ne":""}'},
    ],
)
async def test_wrong_credentials(things: Client, headers: dict[str, str]) -> None:
    answer = await things.request("POST", "things.any", headers=headers)
    assert read(answer, 401) == {"status": "error", "message": "You must be logged in to do this."}
    assert (await things.request("GET", "things.optional", headers=headers)).json() == {"user": None, "success": True}


async def test_token_of_somebody_else(anybody: Client, admin: Client) -> None:
    user = await admin.make_user("alice")
    mixed = {"X-Auth-Token": user.headers["X-Auth-Token"], "X-User-Id": admin.user_id}
    assert (await surface(anybody).request("POST", "things.any", headers=mixed)).status_code == 401
    assert (await surface(user).get("things.optional"))["user"] == "alice"


async def test_paths(things: Client) -> None:
    assert await things.get("things/a/parts/b") == {"id": "a", "part": "b", "success": True}
    assert (await things.request("DELETE", "things/a/parts/b")).json()["deleted"] == "b"
    for path in ("things/a/parts", "things/a/parts/b/c", "things//parts/b", "nothing", "", "things.create/x"):
        answer = read(await things.request("GET", path), 404)
        assert answer == {"success": False, "error": "Resource not found"}


async def test_wrong_method(things: Client) -> None:
    answer = await things.request("GET", "things.create")
    assert read(answer, 405) == {"status": "error", "message": "API endpoint does not exist"}
    assert answer.headers["allow"] == "POST"
    answer = await things.request("PUT", "things/a/parts/b")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET"
    for method in ("OPTIONS", "TRACE", "BREW"):
        answer = await things.request(method, "things.create")
        assert read(answer, 405) == {"status": "error", "message": "API endpoint does not exist"}
        assert answer.headers["allow"] == "POST"
    assert (await things.request("OPTIONS", "nothing")).status_code == 404


async def test_other_origins(admin: Client, things: Client) -> None:
    asking = {"Origin": "https://App.example.com", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in (await things.request("GET", "things.usual", headers=asking)).headers
    await admin.post("settings/API_Enable_CORS", value=True)
    for answer in (
        await things.request("GET", "things.usual", headers=asking),
        await things.request("GET", "things.error/crash", headers=asking),
        await things.request("GET", "things.image", headers=asking),
        await things.request("OPTIONS", "things.create", headers=asking),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "X-Auth-Token" in answer.headers["access-control-allow-headers"]
        assert "vary" not in answer.headers
    preflight = await things.request("OPTIONS", "things.create", headers=asking)
    assert (preflight.status_code, preflight.content) == (200, b"")
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert (await things.request("OPTIONS", "things.create")).status_code == 405
    await admin.post("settings/API_CORS_Origin", value="https://other.example.com, https://app.example.com")
    for method in ("GET", "OPTIONS"):
        answer = await things.request(method, "things.usual", headers=asking)
        assert answer.headers["access-control-allow-origin"] == "https://App.example.com"
        assert answer.headers["vary"] == "Origin"
        answer = await things.request(method, "things.usual", headers={**asking, "Origin": "https://evil.example.com"})
        assert answer.status_code == (200 if method == "GET" else 405)
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


async def test_headers(things: Client) -> None:
    answer = await things.request("GET", "things.usual", headers={"X-Request-Id": "mine"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert answer.headers["x-request-id"] == "mine"
    assert (await things.request("GET", "things.image")).headers["content-type"] == "image/svg+xml"


async def test_success_stands_beside_a_status_of_presence(things: Client) -> None:
    assert await things.get("things.status") == {"status": "online", "success": True}


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("not-allowed", 400, {"error": "Not allowed [error-not-allowed]", "errorType": "error-not-allowed"}),
        ("unauthorized", 403, {"error": "unauthorized"}),
        ("forbidden", 403, {"error": "unauthorized"}),
        ("not-found", 404, {"error": "Resource not found"}),
        (
            "conflict",
            400,
            {"error": "It is there [error-there]", "errorType": "error-there", "details": {"field": "name"}},
        ),
        ("no-reason", 400, {"error": "[error-bare]", "errorType": "error-bare"}),
        ("failure", 400, {"error": "Just text"}),
        ("empty-failure", 400, {}),
        (
            "second-factor",
            400,
            {
                "error": "TOTP Required [totp-required]",
                "errorType": "totp-required",
                "details": {"method": "totp", "availableMethods": ["totp"]},
            },
        ),
        ("too-many", 429, {"error": "Error, too many requests. Please slow down. [error-too-many-requests]"}),
        ("crash", 500, {"error": "Internal error occured"}),
    ],
)
async def test_errors(things: Client, name: str, status: int, body: dict[str, Any]) -> None:
    assert await things.get(f"things.error/{name}", status) == {"success": False, **body}


async def test_errors_of_what_is_missing(things: Client) -> None:
    assert (await things.get("things.error/room", 400))["errorType"] == "error-room-not-found"
    assert (await things.get("things.error/not-built", 501))["errorType"] == "error-not-implemented"
    assert (await things.get("things.error/unavailable", 503))["errorType"] == "error-unavailable"


def test_one_of_several() -> None:
    check_one_given(roomId="r", roomName=None)
    with pytest.raises(Exception, match="must have required property 'roomId'\n must have required property"):
        check_one_given(roomId=None, roomName=None)
    with pytest.raises(Exception, match="must match exactly one schema in oneOf"):
        check_one_given(roomId="r", roomName="n")


async def test_rate_limit(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_api(tmp_path, test_mode=False) as nobody:
        things = surface(nobody)
        for left in (1, 0):
            answer = await things.request("GET", "things.limited")
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-limit"] == "2"
            assert answer.headers["x-ratelimit-remaining"] == str(left)
            assert int(answer.headers["x-ratelimit-reset"]) > 1_600_000_000_000
        answer = await things.request("GET", "things.limited")
        error = read(answer, 429)["error"]
        assert error.startswith("Error, too many requests. Please slow down. You must wait ")
        assert error.endswith(" seconds before trying this endpoint again. [error-too-many-requests]")
        for _ in range(10):
            assert (await things.request("GET", "things.usual")).status_code == 200
        assert (await things.request("GET", "things.usual")).status_code == 429
        # Administrators may bypass the limits.
        admin = surface(await as_admin(nobody))
        for _ in range(12):
            assert (await admin.request("GET", "things.optional")).status_code == 200
