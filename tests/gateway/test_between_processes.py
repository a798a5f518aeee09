"""The same API with each role in a node of its own: what must not change, and how soon a change of policy counts."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.rest import Client, as_admin, new_user, running_api

OBEYED_WITHIN = 0.1
"""Seconds between the answer to a change of policy and every process obeying it."""


@pytest.fixture
async def admin(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Client]:
    async with running_api(tmp_path, "grpc") as client:
        yield await as_admin(client)


async def test_errors_are_the_same(admin: Client) -> None:
    alice = await admin.make_user("alice")
    answer = await admin.post("users.create", 400, **new_user("alice"))
    assert answer["error"] == "alice is already in use :( [error-field-unavailable]"
    assert answer["details"] == {"field": "username"}
    assert await alice.post("roles.addUserToRole", 403, roleId="admin", username="alice") == {
        "success": False,
        "error": "unauthorized",
    }
    assert (await alice.post("login", 401, user="alice", password="wrong"))["message"] == "Incorrect password"
    assert await admin.get("users.info", 400, userId="unknown") == {"success": False, "error": "User not found."}


async def test_changes_of_policy_are_obeyed_soon(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await alice.get("users.list")
    await admin.post("permissions.update", permissions=[{"_id": "view-d-room", "roles": ["admin"]}])
    await asyncio.sleep(OBEYED_WITHIN)
    await alice.get("users.list", 403)
    await admin.post("settings/API_Default_Count", value=1)
    await asyncio.sleep(OBEYED_WITHIN)
    assert (await admin.get("users.list"))["count"] == 1
    role = (await admin.post("roles.create", name="watcher"))["role"]
    await admin.post("permissions.update", permissions=[{"_id": "view-statistics", "roles": [role["_id"]]}])
    await admin.post("roles.addUserToRole", roleId=role["_id"], username="alice")
    await asyncio.sleep(OBEYED_WITHIN)
    await alice.get("instances.get")


async def test_revocation_is_obeyed_soon(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await alice.get("me")
    await admin.post("users.setActiveStatus", userId=alice.user_id, activeStatus=False)
    started = time.monotonic()
    while (await alice.request("GET", "me")).status_code != 401:
        assert time.monotonic() - started < OBEYED_WITHIN
