"""The same API with each role in a node of its own, and a second gateway: what must not change, and that a change of
policy counts for every connection and in every process as soon as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from palaver import access
from palaver.node import Node
from palaver.policy import Policy
from tests.gateway.ddp import PATIENCE, ROLES, RunningGateway, served
from tests.gateway.rest import Client, as_admin, new_user, running_api
from tests.services import Transport, service_nodes

Headers = dict[str, str]


@pytest.fixture
async def admin(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Client]:
    async with running_api(tmp_path, "grpc") as client:
        yield await as_admin(client)


@dataclass
class Processes:
    """Each role as a process of its own, and two gateways."""

    nodes: list[Node]
    gateways: list[RunningGateway]

    async def change(self, path: str, holds: Callable[[Policy], bool], **body: Any) -> None:
        """Changes the policy by the first gateway, and returns when every process has been told."""
        first = self.gateways[0]
        await first.post(path, first.admin, **body)
        async with asyncio.timeout(PATIENCE):
            for node in self.nodes:
                await _told(node, holds)

    async def grant(self, roles: list[str], *permissions: str) -> None:
        await self.change(
            "permissions.update",
            lambda policy: all(policy.roles_of(permission) == roles for permission in permissions),
            permissions=[{"_id": permission, "roles": roles} for permission in permissions],
        )

    async def set(self, setting: str, value: object) -> None:
        await self.change(f"settings/{setting}", lambda policy: bool(policy.setting(setting) == value), value=value)


async def _told(node: Node, holds: Callable[[Policy], bool]) -> None:
    heard = asyncio.Event()
    node.access.on_change(lambda _: heard.set())
    while not holds(node.access.policy):
        heard.clear()
        await heard.wait()


@pytest.fixture(params=["grpc", pytest.param("cluster", marks=pytest.mark.needs_servers)])
async def processes(
    request: pytest.FixtureRequest, tmp_path: Path, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Processes]:
    """Nobody looks whether the policy has changed: they are told, or don't know."""
    transport: Transport = request.param
    monkeypatch.setattr(access, "_RENEW_SECONDS", 3600.0)
    monkeypatch.setattr(access, "_TRUST_SECONDS", 3600.0)
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {"port": 0, "host": "127.0.0.1", "drain_seconds": 2.0}
        running = await stack.enter_async_context(service_nodes(tmp_path, ROLES, transport, **options))
        another = await stack.enter_async_context(running.another("gateway", "test-gateway-2"))
        gateways = [await stack.enter_async_context(served(node)) for node in (running.node, another)]
        yield Processes([*running.nodes.values(), another], gateways)


async def test_errors_are_the_same(admin: Client) -> None:
    alice = await admin.make_user("alice")
    answer = await admin.post("users.create", 400, **new_user("alice"))
    assert answer["error"] == "alice is already in use :( [error-field-unavailable]"
    assert answer["details"] == {"field": "username"}
    assert await alice.post("roles.addUserToRole", 403, roleId="admin", username="alice") == {
        "success": False,
        "error": "unauthorized",
    }
    assert (await alice.post("login", 401, user="alice", password="wrong"))["message"] == "Unauthorized"
    assert await admin.get("users.info", 400, userId="unknown") == {"success": False, "error": "User not found."}


async def test_a_permission_is_obeyed_by_every_connection_once_it_is_told(processes: Processes) -> None:
    """Three permissions: one that the gateway asks for, one that messaging does, and one that auth does."""
    permissions = ("view-statistics", "create-c", "view-d-room")
    names = (f"room-{number}" for number in count())
    alice = await processes.gateways[0].make_user("alice")
    sockets = [await gateway.client(alice) for gateway in processes.gateways for _ in range(2)]
    for roles, may in ((["admin", "user"], True), (["admin"], False), (["user"], True), ([], False)):
        await processes.grant(roles, *permissions)
        for gateway in processes.gateways:
            for path in ("instances.get", "users.list"):
                answer = await gateway.http.get(path, headers=alice)
                assert (answer.status_code == 200) == may, (path, roles, answer.text)
            answer = await gateway.http.post("channels.create", headers=alice, json={"name": next(names)})
            assert (answer.status_code == 200) == may, (roles, answer.text)
        for socket in sockets:
            assert ("error" not in await socket.call("createChannel", next(names), [])) == may


async def test_a_setting_is_obeyed_by_every_gateway_once_it_is_told(processes: Processes) -> None:
    alice = await processes.gateways[0].make_user("alice")
    sockets = [await gateway.client(alice) for gateway in processes.gateways]
    for allowed in (False, True):
        await processes.set("Accounts_AllowRealNameChange", allowed)
        for number, socket in enumerate(sockets):
            result = await socket.call("setRealName", f"Alice {number}")
            assert ("error" in result) != allowed
    await processes.set("API_Default_Count", 1)
    for gateway in processes.gateways:
        assert (await gateway.http.get("users.list", headers=gateway.admin)).json()["count"] == 1


@pytest.fixture
def no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process hears that the policy has changed."""
    monkeypatch.setattr(access.Access, "_on_told", lambda self, event: None)


async def test_who_changes_the_policy_needs_no_news_of_it(no_news: None, processes: Processes) -> None:
    """News of a change may be late. Whoever is told that it is done builds on it with the next request."""
    first = processes.gateways[0]
    alice = await first.make_user("alice")
    role = (await first.post("roles.create", first.admin, name="pilot"))["role"]["_id"]
    await first.post("roles.addUserToRole", first.admin, roleId="pilot", username="alice")
    listed = await first.http.get("roles.list", headers=first.admin)
    assert role in {found["_id"] for found in listed.json()["roles"]}
    for roles, status in ((["admin"], 403), (["admin", role], 200)):
        permissions = [{"_id": "create-c", "roles": roles}, {"_id": "view-statistics", "roles": roles}]
        answer = await first.post("permissions.update", first.admin, permissions=permissions)
        assert {found["_id"]: found["roles"] for found in answer["permissions"]}["create-c"] == roles
        assert (await first.http.get("instances.get", headers=alice)).status_code == status
        made = await first.http.post("channels.create", headers=alice, json={"name": f"room-{status}"})
        assert made.status_code == status, made.text
    await first.post("settings/API_Default_Count", first.admin, value=1)
    assert (await first.http.get("users.list", headers=first.admin)).json()["count"] == 1
    await first.post("roles.removeUserFromRole", first.admin, roleId=role, username="alice")
    for permission in ("create-c", "view-statistics"):
        await first.post("permissions.update", first.admin, permissions=[{"_id": permission, "roles": ["admin"]}])
    await first.post("roles.delete", first.admin, roleId=role)
    listed = await first.http.get("roles.list", headers=first.admin)
    assert role not in {found["_id"] for found in listed.json()["roles"]}


async def test_a_role_that_somebody_gets_counts_everywhere(processes: Processes) -> None:
    first = processes.gateways[0]
    alice = await first.make_user("alice")
    for gateway in processes.gateways:
        assert (await gateway.http.get("instances.get", headers=alice)).status_code == 403
    role = (await first.post("roles.create", first.admin, name="watcher"))["role"]["_id"]
    await processes.grant([role], "view-statistics")
    await first.post("roles.addUserToRole", first.admin, roleId=role, username="alice")
    for gateway in processes.gateways:
        await _answers(gateway, alice, "instances.get", 200)
    await first.post("roles.removeUserFromRole", first.admin, roleId=role, username="alice")
    for gateway in processes.gateways:
        await _answers(gateway, alice, "instances.get", 403)


async def test_an_account_that_ends_is_refused_everywhere(processes: Processes) -> None:
    first = processes.gateways[0]
    alice = await first.make_user("alice")
    for gateway in processes.gateways:
        assert (await gateway.http.get("me", headers=alice)).status_code == 200
    await first.post("users.setActiveStatus", first.admin, userId=alice["X-User-Id"], activeStatus=False)
    for gateway in processes.gateways:
        await _answers(gateway, alice, "me", 401)


async def _answers(gateway: RunningGateway, headers: Headers, path: str, status: int) -> None:
    """Returns when a GET is answered with this status."""
    async with asyncio.timeout(PATIENCE):
        while (await gateway.http.get(path, headers=headers)).status_code != status:
            await asyncio.sleep(0.01)
