"""The node's view of who may do what: it follows the events, and never remembers what has changed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
import pytest

from palaver import access
from palaver.access import CACHED_USERS, LOOKUPS, POLICY_AGE, USERS_CHANGED, Access, User
from palaver.api import Auth
from palaver.errors import LoginRequired, NotAllowed, Unavailable
from palaver.events import SYSTEM, user_actor
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.v1.auth_pb2 import DocumentsReply, GetPolicyReply, GetPolicyRequest, GetUsersRequest
from palaver.v1.event_pb2 import Actor, Event, PermissionChanged, RoleDeleted, RoleSaved, SettingChanged
from tests.log.harness import NothingCommitted


class SmallAuth:
    """As much of auth as `Access` calls. `during` runs between reading and answering, as others do meanwhile."""

    def __init__(self) -> None:
        self.seq = 0
        self.permissions: dict[str, Any] = {"send": {"_id": "send", "roles": ["user", "owner"]}}
        self.roles: dict[str, Any] = {"user": {"_id": "user"}}
        self.settings: dict[str, Any] = {"Site_Name": {"_id": "Site_Name", "value": "old"}}
        self.users: dict[str, Any] = {}
        self.during: Callable[[], Awaitable[None]] | None = None
        self.available = True
        self.policies_read = 0
        self.confirmations = 0
        self.users_read: list[str] = []

    async def get_policy(self, request: GetPolicyRequest) -> GetPolicyReply:
        self._check()
        if request.HasField("known_seq") and request.known_seq == self.seq:
            self.confirmations += 1
            return GetPolicyReply(seq=self.seq)
        self.policies_read += 1
        reply = GetPolicyReply(
            permissions=map(orjson.dumps, self.permissions.values()),
            roles=map(orjson.dumps, self.roles.values()),
            settings=map(orjson.dumps, self.settings.values()),
            seq=self.seq,
        )
        await self._meanwhile()
        return reply

    async def get_users(self, request: GetUsersRequest) -> DocumentsReply:
        self._check()
        self.users_read += [*request.user_ids, *request.usernames]
        found = [
            orjson.dumps(user)
            for user in self.users.values()
            if user["_id"] in request.user_ids or user["username"] in request.usernames
        ]
        await self._meanwhile()
        return DocumentsReply(documents=found)

    def _check(self) -> None:
        if not self.available:
            raise Unavailable

    async def _meanwhile(self) -> None:
        during, self.during = self.during, None
        if during is not None:
            await during()


class GappyLog(EmbeddedLog):
    """A log that may say that it has lost something."""

    def __init__(self) -> None:
        super().__init__(NothingCommitted())
        self._callbacks: list[Callable[[], None]] = []

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def lose(self) -> None:
        for callback in self._callbacks:
            callback()


class World:
    """An auth service that changes things and tells of it, and one node's access."""

    def __init__(self) -> None:
        self.auth, self.log, self.live = SmallAuth(), GappyLog(), EmbeddedLive()
        self.now = 1000.0
        self.access = Access(cast(Auth, self.auth), self.log, self.live, lambda: self.now)

    async def event(self, *, tell: bool = True, **fact: Any) -> None:
        """Appends an event to the workspace's stream, and tells of it unless it gets lost."""
        self.auth.seq += 1
        event = Event(stream_kind="workspace", seq=self.auth.seq, **fact)
        if tell:
            await self.log.publish([event])

    async def set(self, setting_id: str, value: Any, *, tell: bool = True) -> None:
        document = {"_id": setting_id, "value": value}
        self.auth.settings[setting_id] = document
        await self.event(
            tell=tell, setting_changed=SettingChanged(setting_id=setting_id, setting=orjson.dumps(document))
        )

    async def grant(self, permission_id: str, *roles: str, tell: bool = True) -> None:
        document = {"_id": permission_id, "roles": roles}
        self.auth.permissions[permission_id] = document
        fact = PermissionChanged(permission_id=permission_id, permission=orjson.dumps(document))
        await self.event(tell=tell, permission_changed=fact)

    def add_user(self, user_id: str, *roles: str, active: bool = True) -> None:
        self.auth.users[user_id] = {"_id": user_id, "username": user_id.lower(), "roles": roles, "active": active}

    async def change_user(self, user_id: str, **fields: Any) -> None:
        self.auth.users[user_id].update(fields)
        await self.live.publish(USERS_CHANGED, user_id.encode())

    async def get_user(self, user_id: str) -> User:
        user = await self.access.find_user(user_id)
        assert user is not None
        return user


@pytest.fixture
async def world() -> World:
    world = World()
    world.add_user("Alice", "user")
    world.add_user("Root", "user", "admin")
    await world.access.open()
    return world


# -- the policy ------------------------------------------------------------


async def test_the_policy_is_loaded(world: World) -> None:
    assert world.access.setting("Site_Name") == "old"
    assert world.access.policy.roles_of("send") == ["user", "owner"]
    assert world.access.policy.roles_of("no such permission") == []
    assert world.access.policy.roles == {"user": {"_id": "user"}}
    with pytest.raises(KeyError):
        world.access.setting("No_Such_Setting")


async def test_the_policy_follows_the_events(world: World) -> None:
    await world.set("Site_Name", "new")
    await world.get_user("Alice")
    assert world.access.setting("Site_Name") == "new"
    await world.grant("send", "admin")
    assert not world.access.may(await world.get_user("Alice"), "send")
    await world.grant("fly", "user")
    assert world.access.may(await world.get_user("Alice"), "fly")
    assert world.auth.policies_read == 4
    assert world.access.policy.seq == world.auth.seq == 3


async def test_who_commits_an_event_obeys_it_at_once(world: World) -> None:
    def take(**fact: Any) -> None:
        world.auth.seq += 1
        world.access.take(Event(stream_kind="workspace", seq=world.auth.seq, **fact))

    take(role_saved=RoleSaved(role_id="pilot", role=orjson.dumps({"_id": "pilot"})))
    assert "pilot" in world.access.policy.roles
    take(role_deleted=RoleDeleted(role_id="pilot"))
    take(role_deleted=RoleDeleted(role_id="pilot"))
    assert "pilot" not in world.access.policy.roles
    assert (world.auth.policies_read, world.access.policy.seq) == (1, 3)


async def test_what_the_log_says_is_no_word_of_auths(world: World) -> None:
    alice = await world.get_user("Alice")
    for seq in (1, 1 << 60):
        granted = PermissionChanged(permission_id="fly", permission=b'{"_id": "fly", "roles": ["user"]}')
        await world.log.publish([Event(stream_kind="workspace", seq=seq, permission_changed=granted)])
        assert not world.access.may(alice, "fly")
        assert not world.access.may(await world.get_user("Alice"), "fly")
    assert world.access.policy.seq == 0
    await world.grant("send", "nobody")  # the first event that auth knows of
    assert not world.access.may(await world.get_user("Alice"), "send")


async def test_a_policy_that_auth_has_never_had_is_given_up(world: World) -> None:
    world.access.take(Event(stream_kind="workspace", seq=1, role_deleted=RoleDeleted(role_id="user")))
    world.now += 3.1
    await world.get_user("Alice")
    assert (world.access.policy.seq, "user" in world.access.policy.roles) == (0, True)


async def test_a_change_is_read_as_soon_as_it_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_RENEW_SECONDS", 3600.0)
    renewing = asyncio.create_task(world.access.run_renewing())
    try:
        await asyncio.sleep(0)
        await world.set("Site_Name", "new")
        await _until(lambda: world.access.setting("Site_Name") == "new")
    finally:
        renewing.cancel()


async def test_an_event_that_comes_again_changes_nothing(world: World) -> None:
    await world.set("Site_Name", "first")
    await world.set("Site_Name", "second")
    old = Event(
        stream_kind="workspace",
        seq=1,
        setting_changed=SettingChanged(setting_id="Site_Name", setting=b'{"_id": "Site_Name", "value": "first"}'),
    )
    await world.get_user("Alice")
    await world.log.publish([old])
    await world.get_user("Alice")
    assert world.access.setting("Site_Name") == "second"
    assert world.access.policy.seq == 2


async def test_a_missed_event_makes_it_read_everything_again(world: World) -> None:
    await world.grant("send", "nobody", tell=False)
    await world.set("Site_Name", "new")
    alice = await world.get_user("Alice")
    assert world.access.setting("Site_Name") == "new"
    assert world.auth.policies_read == 2
    assert not world.access.may(alice, "send")
    assert world.access.policy.seq == 2


async def test_a_missed_event_is_noticed_though_the_user_is_known(world: World) -> None:
    await world.get_user("Alice")
    await world.grant("send", "nobody", tell=False)
    await world.set("Site_Name", "new")
    alice = await world.get_user("Alice")
    assert not world.access.may(alice, "send")


async def test_a_gap_of_the_log_makes_it_read_everything_again(world: World) -> None:
    await world.get_user("Alice")
    await world.grant("send", "nobody", tell=False)
    world.auth.users["Alice"]["roles"] = ["guest"]
    world.log.lose()
    alice = await world.access.get_actor(user_actor("Alice"))
    assert alice.roles == ("guest",)
    assert not world.access.may(alice, "send")


async def test_reading_again_waits_for_auth(world: World) -> None:
    await world.get_user("Alice")
    world.log.lose()
    world.auth.available = False
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.access.get_actor(user_actor("Alice"))
    world.auth.available = True
    await world.access.get_actor(user_actor("Alice"))
    assert world.auth.policies_read == 2


async def test_an_event_during_the_loading_is_not_lost(world: World) -> None:
    async def revoke() -> None:
        await world.grant("send", "nobody")

    world.auth.during = revoke
    world.log.lose()
    alice = await world.get_user("Alice")
    assert not world.access.may(alice, "send")
    assert world.access.policy.seq == 1


async def test_a_gap_during_the_loading_is_not_forgotten(world: World) -> None:
    async def revoke() -> None:
        await world.grant("send", "nobody", tell=False)
        world.log.lose()

    world.auth.during = revoke
    world.log.lose()
    await world.get_user("Alice")
    alice = await world.get_user("Alice")
    assert not world.access.may(alice, "send")


# -- users ------------------------------------------------------------


async def test_users_are_remembered(world: World) -> None:
    for _ in range(3):
        assert (await world.get_user("Alice")).username == "alice"
    found = await world.access.find_users(["Root", "Alice", "Nobody"])
    assert set(found) == {"Alice", "Root"}
    assert world.auth.users_read == ["Alice", "Root", "Nobody"]
    assert await world.access.find_user("Nobody") is None


async def test_users_by_name(world: World) -> None:
    found = await world.access.find_users_by_name(["alice", "nobody"])
    assert set(found) == {"alice"}
    assert found["alice"].id == "Alice"


async def test_a_changed_user_is_forgotten(world: World) -> None:
    assert (await world.get_user("Alice")).roles == ("user",)
    await world.change_user("Alice", roles=["user", "admin"])
    assert (await world.get_user("Alice")).roles == ("user", "admin")
    await world.change_user("Alice", active=False)
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))
    await world.live.publish(USERS_CHANGED, b"\xff unknown")


async def test_a_user_who_changes_while_being_loaded_is_not_remembered(world: World) -> None:
    async def deactivate() -> None:
        await world.change_user("Alice", active=False)

    world.auth.during = deactivate
    await world.access.find_users(["Alice", "Root"])
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))
    assert world.auth.users_read == ["Alice", "Root", "Alice"]


async def test_users_who_are_being_loaded_during_a_gap_are_not_remembered(world: World) -> None:
    async def lose() -> None:
        world.auth.users["Alice"]["active"] = False
        world.log.lose()

    world.auth.during = lose
    await world.access.find_user("Alice")
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))


async def test_many_ask_at_the_same_time(world: World) -> None:
    async def wait() -> None:
        await asyncio.sleep(0.01)

    world.log.lose()
    world.auth.during = wait
    users = await asyncio.gather(*(world.access.find_user("Alice") for _ in range(20)))
    assert {user.id for user in users if user} == {"Alice"}
    assert world.auth.policies_read == 2


# -- who is told of changes ------------------------------------------------------------


def _facts(changes: list[Event]) -> list[str | None]:
    return [change.WhichOneof("fact") for change in changes]


async def test_every_change_is_told_once(world: World) -> None:
    changes: list[Event] = []
    world.access.on_change(changes.append)
    await world.set("Site_Name", "new")
    await world.grant("send", "user", "owner", "guest")
    await world.get_user("Alice")
    await world.log.publish([Event(stream_kind="workspace", seq=1, role_deleted=RoleDeleted(role_id="user"))])
    assert _facts(changes) == ["setting_changed", "permission_changed"]
    world.log.lose()
    await world.get_user("Alice")
    assert len(changes) == 2, "nothing differs"


async def test_what_was_missed_is_told_as_it_is_now(world: World) -> None:
    def fail(change: Event) -> None:
        raise RuntimeError("a follower that fails is no other's concern")

    changes: list[Event] = []
    world.access.on_change(fail)
    world.access.on_change(changes.append)
    for name in ("first", "second"):
        await world.set("Site_Name", name, tell=False)
    await world.grant("send", "admin", tell=False)
    await world.event(tell=False, role_saved=RoleSaved(role_id="pilot"))
    world.auth.roles = {"pilot": {"_id": "pilot"}}
    world.now += 3.1
    await world.get_user("Alice")
    assert _facts(changes) == ["setting_changed", "permission_changed", "role_saved", "role_deleted"]
    assert orjson.loads(changes[0].setting_changed.setting)["value"] == "second"
    assert changes[1].permission_changed.permission_id == "send"
    assert {change.seq for change in changes} == {world.auth.seq}


async def test_a_caller_may_know_of_a_later_policy(world: World) -> None:
    await world.grant("send", "nobody", tell=False)
    await world.access.catch_up(0)
    assert world.auth.policies_read == 1
    await asyncio.gather(*(world.access.catch_up(world.auth.seq) for _ in range(5)))
    assert world.auth.policies_read == 2
    assert world.access.policy.roles_of("send") == ["nobody"]


# -- news that got lost ------------------------------------------------------------


async def test_a_lost_change_of_a_user_is_obeyed_within_three_seconds(world: World) -> None:
    await world.get_user("Alice")
    world.auth.users["Alice"]["active"] = False
    world.now += 2.9
    assert (await world.get_user("Alice")).active
    world.now += 0.2
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))
    assert world.auth.policies_read == 1


async def test_a_lost_change_of_the_policy_is_obeyed_within_three_seconds(world: World) -> None:
    await world.get_user("Alice")
    await world.grant("send", "nobody", tell=False)
    world.now += 3.1
    assert not world.access.may(await world.get_user("Alice"), "send")


async def test_every_second_auth_confirms_the_policy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_RENEW_SECONDS", 0.01)
    renewing = asyncio.create_task(world.access.run_renewing())
    try:
        await _until(lambda: world.auth.confirmations > 2)
        assert world.auth.policies_read == 1
        world.auth.available = False
        await asyncio.sleep(0.05)
        world.auth.available = True
        await world.set("Site_Name", "new", tell=False)
        await _until(lambda: world.access.setting("Site_Name") == "new")
    finally:
        renewing.cancel()


async def test_without_auth_nobody_is_trusted_for_long(world: World) -> None:
    await world.get_user("Alice")
    world.auth.available = False
    world.now += 2.9
    await world.access.get_actor(user_actor("Alice"))
    world.now += 0.2
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.access.get_actor(user_actor("Alice"))
    world.auth.available = True
    await world.access.get_actor(user_actor("Alice"))


async def test_all_wait_for_one_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GetPolicyRequest] = []

    async def never(request: GetPolicyRequest) -> GetPolicyReply:
        asked.append(request)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(access, "_TRUST_SECONDS", 0.05)
    monkeypatch.setattr(world.auth, "get_policy", never)
    world.now += 4
    found = await asyncio.gather(*(world.access.find_user("Alice") for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in found} == {Unavailable}
    assert len(asked) == 1


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


# -- decisions ------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "room_roles", "allowed"),
    [
        ((), (), False),
        (("user",), (), True),
        (("guest",), (), False),
        (("guest",), ("owner",), True),
        (("guest",), ("moderator", "owner"), True),
        (("guest",), ("moderator",), False),
        (("admin",), (), False),  # no role is more than what it is granted
        (("guest", "user"), ("moderator",), True),
    ],
)
async def test_permissions(world: World, roles: tuple[str, ...], room_roles: tuple[str, ...], allowed: bool) -> None:
    world.add_user("Bob", *roles)
    bob = await world.get_user("Bob")
    assert world.access.may(bob, "send", room_roles) is allowed
    if allowed:
        world.access.check(bob, "send", room_roles)
    else:
        with pytest.raises(NotAllowed) as caught:
            world.access.check(bob, "send", room_roles)
        assert caught.value.error_code == "error-not-allowed"
        assert caught.value.details == {"permission": "send"}


@pytest.mark.parametrize("permission", ["nothing of the kind", ""])
async def test_nobody_has_an_unknown_permission(world: World, permission: str) -> None:
    assert not world.access.may(await world.get_user("Root"), permission, ["owner"])


@pytest.mark.parametrize(
    "actor",
    [
        SYSTEM,
        user_actor(""),
        user_actor("Nobody"),
        user_actor("Gone"),
        Actor(kind=Actor.VISITOR, id="Alice"),
        Actor(kind=Actor.INTEGRATION, id="Alice"),
        Actor(kind=Actor.REMOTE_USER, id="Alice"),
        Actor(id="Alice"),
    ],
    ids=repr,
)
async def test_only_an_active_user_is_a_logged_in_one(world: World, actor: Actor) -> None:
    world.add_user("Gone", "admin", active=False)
    with pytest.raises(LoginRequired):
        await world.access.get_actor(actor)


async def test_what_is_missing_in_a_document_allows_nothing(world: World) -> None:
    world.auth.users["Bare"] = {"_id": "Bare", "username": "bare"}
    bare = await world.get_user("Bare")
    assert (bare.roles, bare.active, bare.type, bare.name) == ((), False, "user", "")
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Bare"))


# -- what it measures ------------------------------------------------------


async def test_lookups_and_trust_are_measured(world: World) -> None:
    hits, misses = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")
    world.access.measure()
    before = hits._value.get(), misses._value.get()
    await world.get_user("Alice")
    await world.get_user("Alice")
    await world.access.find_users(["Root", "Alice"])
    world.access.measure()
    assert (hits._value.get() - before[0], misses._value.get() - before[1]) == (2, 2)
    assert CACHED_USERS._value.get() == 2
    assert POLICY_AGE._value.get() == 0
    world.now += 5
    world.access.measure()
    assert POLICY_AGE._value.get() == pytest.approx(5)
