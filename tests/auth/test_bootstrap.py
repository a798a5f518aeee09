"""What a workspace has from its first moment, after any number of starts, crashes and processes."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from palaver import failpoints
from palaver.blobs.files import FileBlobs
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Conflict, LoginFailed, PalaverError
from palaver.events import user_stream
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node
from palaver.roles import ROLES
from palaver.v1.auth_pb2 import GetPolicyRequest, GetUserRequest, ListUsersRequest, RegisterUserRequest
from tests.auth.helpers import ADMIN, authenticate, create_user, grant, loaded, login, set_active, set_setting
from tests.services import ADMIN_ID, ADMIN_PASSWORD, Shared, Transport, make_config, service_nodes

pytestmark = pytest.mark.usefixtures("cheap_hashes")

NO_ADMIN: dict[str, Any] = {"admin_id": "", "admin_username": "", "admin_password": "", "admin_email": ""}


async def test_the_first_start(tmp_path: Path, transport: Transport) -> None:
    async with service_nodes(tmp_path, ("auth",), transport) as running:
        auth = running.services.auth
        bot = loaded((await auth.get_user(GetUserRequest(actor=ADMIN, user_id="rocket.cat"))).user)
        assert (bot["username"], bot["roles"], bot["type"], bot["active"]) == ("rocket.cat", ["bot"], "bot", True)
        admin = loaded((await auth.get_user(GetUserRequest(actor=ADMIN, username="boss"))).user)
        assert (admin["_id"], admin["roles"], admin["name"]) == (ADMIN_ID, ["admin"], "The Boss")
        assert admin["emails"] == [{"address": "boss@example.org", "verified": True}]
        await login(auth, "boss", ADMIN_PASSWORD)


async def test_a_restart_keeps_everything_and_makes_nothing_twice(tmp_path: Path, transport: Transport) -> None:
    async with service_nodes(tmp_path, ("auth",), transport) as running:
        auth = running.services.auth
        user = await create_user(auth, "alice")
        token = (await login(auth, "alice")).token
        await set_setting(auth, "Site_Name", "Ours")
        await grant(auth, "view-full-other-user-info", "user")
        before = await auth.get_policy(GetPolicyRequest())
        heads = await running.node.database.get_heads([user_stream(ADMIN_ID), user_stream("rocket.cat")])
    for _ in range(2):
        async with service_nodes(tmp_path, ("auth",), transport, admin_password="another one") as running:
            auth = running.services.auth
            assert await auth.get_policy(GetPolicyRequest()) == before
            assert (await authenticate(auth, token)).user_id == user["_id"]
            database = running.node.database
            assert await database.get_head(user_stream("rocket.cat")) == heads[1]
            assert (await auth.list_users(ListUsersRequest(actor=ADMIN))).total == 3
            await login(auth, "boss", ADMIN_PASSWORD)  # the variable makes an administrator, it changes none
            with pytest.raises(LoginFailed):
                await login(auth, "boss", "another one")
            with pytest.raises(Conflict):
                await create_user(auth, "alice", email="other@example.org")


async def test_revocations_and_deactivations_outlive_a_restart(tmp_path: Path, transport: Transport) -> None:
    async with service_nodes(tmp_path, ("auth",), transport) as running:
        auth = running.services.auth
        user = await create_user(auth, "alice")
        token = (await login(auth, "alice")).token
        await set_active(auth, user["_id"], False)
    async with service_nodes(tmp_path, ("auth",), transport) as running:
        auth = running.services.auth
        with pytest.raises(PalaverError):
            await authenticate(auth, token)
        with pytest.raises(LoginFailed):
            await login(auth, "alice")


async def test_without_a_configured_administrator_the_first_to_register_is_it(
    tmp_path: Path, transport: Transport
) -> None:
    async with service_nodes(tmp_path, ("auth",), transport, **NO_ADMIN) as running:
        auth = running.services.auth
        assert running.node.access.setting("Show_Setup_Wizard") == "pending"
        replies = await asyncio.gather(
            *(
                auth.register_user(
                    RegisterUserRequest(username=f"user{n}", email=f"u{n}@example.org", password="x", name="x")
                )
                for n in range(6)
            )
        )
        admins = [user for reply in replies if "admin" in (user := loaded(reply.user))["roles"]]
        assert len(admins) == 1
        assert running.node.access.setting("Show_Setup_Wizard") == "completed"
        later = await auth.register_user(
            RegisterUserRequest(username="late", email="l@example.org", password="x", name="x")
        )
        assert loaded(later.user)["roles"] == ["user"]
    async with service_nodes(tmp_path, ("auth",), transport) as running:
        with pytest.raises(LoginFailed):  # there is one: the variables make no other
            await login(running.services.auth, "boss", ADMIN_PASSWORD)


async def test_a_failed_first_registration_leaves_the_place_free(tmp_path: Path, transport: Transport) -> None:
    async with service_nodes(tmp_path, ("auth",), transport, **NO_ADMIN) as running:
        auth = running.services.auth
        with pytest.raises(Conflict):
            await auth.register_user(
                RegisterUserRequest(username="rocket.cat", email="c@example.org", password="x", name="x")
            )
        reply = await auth.register_user(
            RegisterUserRequest(username="admin", email="a@example.org", password="x", name="x")
        )
        assert loaded(reply.user)["roles"] == ["user", "admin"]


async def test_an_administrator_can_still_be_configured_later(tmp_path: Path, transport: Transport) -> None:
    async with service_nodes(tmp_path, ("auth",), transport, **NO_ADMIN):
        pass
    async with service_nodes(tmp_path, ("auth",), transport) as running:
        await login(running.services.auth, "boss", ADMIN_PASSWORD)
        assert running.node.access.setting("Show_Setup_Wizard") == "completed"


@pytest.mark.parametrize("admin_id", ["", ADMIN_ID])
async def test_processes_start_at_once(tmp_path: Path, admin_id: str, caplog: pytest.LogCaptureFixture) -> None:
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    config = make_config(tmp_path, admin_id=admin_id)
    log, live, blobs = EmbeddedLog(database), EmbeddedLive(), FileBlobs(tmp_path / "uploads")
    nodes = [
        Node(dataclasses.replace(config, node_id=f"node{n}"), Shared(database), Shared(log), Shared(live), blobs)
        for n in range(3)
    ]
    try:
        await asyncio.gather(*(node.open([ROLES["auth"]]) for node in nodes))
        users = await database.find("users", {})
        assert sorted(user["username"] for user in users) == ["boss", "rocket.cat"]
        assert "administrator" not in caplog.text  # it is no trouble that one of them was faster
        settings = await database.find("settings", {})
        assert len({setting["_id"] for setting in settings}) == len(settings)
        for node in nodes:
            assert node.access.setting("uniqueID") == nodes[0].access.setting("uniqueID")
        await login(nodes[2].services.auth, "boss", ADMIN_PASSWORD)
        # What one process does, another one obeys.
        user = await create_user(nodes[0].services.auth, "alice") if admin_id else None
        if user is not None:
            token = (await login(nodes[1].services.auth, "alice")).token
            await authenticate(nodes[2].services.auth, token)
            await set_active(nodes[0].services.auth, user["_id"], False)
            with pytest.raises(PalaverError):
                await authenticate(nodes[2].services.auth, token)
            results = await asyncio.gather(
                *(create_user(node.services.auth, "bob", email=f"b{n}@example.org") for n, node in enumerate(nodes)),
                return_exceptions=True,
            )
            assert sum(isinstance(result, dict) for result in results) == 1
    finally:
        for node in nodes:
            await node.close()
        await database.close()


class Crash(BaseException):
    """What an armed failpoint raises here: whoever gets there goes no further."""


async def crash_while_creating(auth: Any, username: str, failpoint: str) -> None:
    """A process dies at the failpoint: its claims stay, and nobody releases them."""

    def die() -> None:
        raise Crash

    failpoints.arm(failpoint, die)
    try:
        with pytest.raises(Crash):
            await create_user(auth, username)
    finally:
        failpoints.disarm()


async def test_a_name_that_a_crash_left_claimed_is_free_again(tmp_path: Path) -> None:
    async with service_nodes(tmp_path, ("auth",), "process") as running:
        await crash_while_creating(running.services.auth, "alice", "claim.after_claim")
        assert await running.node.database.find_claim("username:alice") is not None
    async with service_nodes(tmp_path, ("auth",), "process") as running:
        auth = running.services.auth
        left = await running.node.database.find_claim("username:alice")
        assert left is not None
        user = await create_user(auth, "alice")
        assert await running.node.database.find_claim("username:alice") == user["_id"]
        # The one who would have been alice can't be any more, however late they come.
        assert await running.node.database.get_head(user_stream(left)) == 1
        reply = await auth.list_users(ListUsersRequest(actor=ADMIN))
        assert sorted(loaded(found)["username"] for found in reply.documents) == ["alice", "boss", "rocket.cat"]
        assert await running.node.access.find_user(left) is None


@pytest.mark.parametrize("claims", [1, 2, 3, 4])
async def test_a_first_start_that_crashed(tmp_path: Path, claims: int) -> None:
    """After one claim more each time: the bot's name, the administrator's name, address, and place."""
    left = claims

    def die() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Crash

    failpoints.arm("claim.after_claim", die)
    with pytest.raises(Crash):
        async with service_nodes(tmp_path, ("auth",), "process", admin_id=""):
            pass
    failpoints.disarm()
    async with service_nodes(tmp_path, ("auth",), "process", admin_id="") as running:
        await login(running.services.auth, "boss", ADMIN_PASSWORD)


async def test_the_slow_one_loses_a_name_that_was_taken_over(tmp_path: Path) -> None:
    """A creation that sleeps between its claim and its event, longer than others wait for it."""
    async with service_nodes(tmp_path, ("auth",), "process") as running:
        auth, node = running.services.auth, running.node
        execute, asleep, awake = node.commits.execute, asyncio.Event(), asyncio.Event()

        async def sleepy(stream: Any, decide: Any) -> Any:
            if stream.kind == "user" and not asleep.is_set():
                asleep.set()
                await awake.wait()
            return await execute(stream, decide)

        node.commits.execute = sleepy  # type: ignore[method-assign]
        slow = asyncio.create_task(create_user(auth, "alice", email="slow@example.org"))
        await asleep.wait()
        quick = await create_user(auth, "alice", email="quick@example.org")
        awake.set()
        with pytest.raises(Conflict):
            await slow
        assert (await login(auth, "alice")).user_id == quick["_id"]
        await create_user(auth, "bob", email="slow@example.org")
