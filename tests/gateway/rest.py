"""The gateway's REST surface in the test's own process: no socket, every role on an embedded database."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from palaver.gateway import rest
from palaver.gateway.rest.endpoint import Endpoint, endpoints_of
from palaver.node import Node
from tests.services import ADMIN_PASSWORD, Transport, service_nodes

ROLES = ("auth", "presence", "messaging", "gateway")
PASSWORD = "correct horse battery"
DECLARED = {
    (declared.method, declared.path): declared
    for module in rest.ENDPOINT_MODULES
    for declared in endpoints_of(module)
    if declared.lists or declared.shows
}
"""The endpoints that say something of their answers."""


class Client:
    """Somebody who calls the API: nobody yet, or a logged-in user."""

    def __init__(self, http: httpx.AsyncClient, node: Node) -> None:
        self.http = http
        self.node = node
        self.headers: dict[str, str] = {}
        self.user_id = ""

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        answer = await self.http.request(method, path, headers=headers, **options)
        declared = DECLARED.get((method, path))
        is_json = answer.headers.get("content-type") == "application/json"
        if answer.status_code == 200 and is_json and declared is not None:
            check_described(declared, answer.json())
        return answer

    async def get(self, path: str, status: int = 200, /, **parameters: Any) -> dict[str, Any]:
        """The answer's body; fails unless it has this status."""
        return read(await self.request("GET", path, params=parameters or None), status)

    async def post(self, path: str, status: int = 200, /, **body: Any) -> dict[str, Any]:
        return read(await self.request("POST", path, json=body), status)

    async def call(self, method: str, *parameters: Any, anonymous: bool = False) -> dict[str, Any]:
        """The result frame of a DDP method through `method.call`."""
        message = json.dumps({"msg": "method", "id": "7", "method": method, "params": parameters})
        path = "method.callAnon" if anonymous else "method.call"
        answer = await self.post(f"{path}/{method.replace('/', ':')}", message=message)
        frame: dict[str, Any] = json.loads(answer["message"])
        assert (frame["msg"], frame["id"]) == ("result", "7")
        return frame

    async def login(self, username: str, password: str = PASSWORD) -> "Client":
        """The same API as this user."""
        data = (await self.post("login", user=username, password=password))["data"]
        found = Client(self.http, self.node)
        found.headers = {"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]}
        found.user_id = data["userId"]
        return found

    async def make_user(self, username: str, /, **fields: Any) -> "Client":
        """As an administrator: a new user, logged in."""
        await self.post("users.create", **new_user(username, **fields))
        return await Client(self.http, self.node).login(username)


def new_user(username: str, /, **fields: Any) -> dict[str, Any]:
    """A body for `users.create`."""
    return {
        "username": username,
        "name": username.title(),
        "email": f"{username}@example.org",
        "password": PASSWORD,
        "verified": True,
        **fields,
    }


def check_described(declared: Endpoint, answer: Any) -> None:
    """An answer has what its endpoint says of it, which the OpenAPI document says, too."""
    if declared.shows:
        assert isinstance(answer[declared.shows], dict), (declared.path, answer)
    if declared.lists:
        assert all(isinstance(one, dict) for one in answer[declared.lists]), (declared.path, answer)
        assert answer["count"] == len(answer[declared.lists]), (declared.path, answer)
        assert min(answer["offset"], answer["total"]) >= 0, (declared.path, answer)


def read(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    if status == 200 and found.get("status") != "success":
        assert found["success"] is True
    return found


@asynccontextmanager
async def running_api(folder: Path, transport: Transport = "process", **options: Any) -> AsyncIterator[Client]:
    """The API for somebody who is not logged in."""
    async with service_nodes(folder, ROLES, transport, **options) as running:
        app = running.node.roles["gateway"].app  # type: ignore[attr-defined]
        way = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=way, base_url="http://chat.example.org/api/v1/") as http:
            yield Client(http, running.node)


async def as_admin(anybody: Client) -> Client:
    return await anybody.login("boss", ADMIN_PASSWORD)
