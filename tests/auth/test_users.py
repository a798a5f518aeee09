"""Creating users, registering oneself, looking users up."""

import asyncio
from typing import Any

import orjson
import pytest

from palaver.api import Auth
from palaver.errors import Conflict, InvalidInput, LoginRequired, NotAllowed, UserNotFound
from palaver.events import SYSTEM, user_actor
from palaver.v1.auth_pb2 import (
    CreateUserRequest,
    GetUserRequest,
    GetUsersRequest,
    ListUsersRequest,
    UserReply,
)
from palaver.v1.event_pb2 import Actor
from tests.auth.helpers import ADMIN, PASSWORD, create_user, grant, loaded, login, set_setting, update_user
from tests.services import RunningServices


async def get_user(auth: Auth, actor_id: str, **which: Any) -> dict[str, Any]:
    return loaded((await auth.get_user(GetUserRequest(actor=user_actor(actor_id), **which))).user)


# -- creating --------------------------------------------------------------------------------------------------------


async def test_a_new_user(auth: Auth, running: RunningServices) -> None:
    user = await create_user(auth, "Alice", bio="hello", nickname="Al", status_text="here", verified=True)
    assert user.pop("createdAt") == user.pop("_updatedAt")
    assert user == {
        "_id": user["_id"],
        "username": "Alice",
        "name": "Alice",
        "emails": [{"address": "Alice@example.org", "verified": True}],
        "roles": ["user"],
        "type": "user",
        "active": True,
        "status": "offline",
        "statusDefault": "online",
        "utcOffset": 0,
        "bio": "hello",
        "nickname": "Al",
        "statusText": "here",
    }
    assert len(user["_id"]) == 17
    stored = await running.node.database.get("users", user["_id"])
    assert stored is not None
    assert stored["services"]["password"]["argon2"].startswith("$argon2id$")
    assert (stored["username_lower"], stored["emails_lower"]) == ("alice", ["alice@example.org"])


async def test_options_of_a_new_user(auth: Auth) -> None:
    user = await create_user(
        auth,
        "helper",
        roles=["bot", "user"],
        type="bot",
        inactive=True,
        require_password_change=True,
        user_id="helper.1",
    )
    assert (user["_id"], user["roles"], user["type"], user["active"]) == ("helper.1", ["bot", "user"], "bot", False)
    assert user["requirePasswordChange"] is True


@pytest.mark.parametrize(
    ("username", "fields", "code"),
    [
        ("", {}, "error-the-field-is-required"),
        ("al ice", {}, "error-input-is-not-a-valid-field"),
        ("a/b", {}, "error-input-is-not-a-valid-field"),
        ("a\u0000", {}, "error-input-is-not-a-valid-field"),
        ("x" * 101, {}, "error-input-is-not-a-valid-field"),
        ("alice", {"password": ""}, "error-the-field-is-required"),
        ("alice", {"password": "  "}, "error-invalid-password"),
        ("alice", {"email": "nothing"}, "error-invalid-email"),
        ("alice", {"name": "x" * 300}, "error-name-size-exceeded"),
        ("alice", {"bio": "x" * 300}, "error-bio-size-exceeded"),
        ("alice", {"roles": ["nothing"]}, "error-action-not-allowed"),
        ("alice", {"roles": ["owner"]}, "error-action-not-allowed"),
        ("alice", {"type": "visitor"}, "error-invalid-user-type"),
        ("alice", {"user_id": "a/b"}, "error-invalid-user-id"),
        ("alice", {"custom_fields": b"[]"}, "invalid-params"),
        ("alice", {"custom_fields": b"{"}, "invalid-params"),
        ("alice", {"custom_fields": b"[" * 100_000}, "invalid-params"),
        ("alice", {"custom_fields": b"\xff"}, "invalid-params"),
    ],
)
async def test_what_can_be_no_user(auth: Auth, username: str, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await create_user(auth, username, **{"email": "a@example.org", **fields})
    assert raised.value.error_code == code
    await create_user(auth, "alice")  # nothing of the refused one is left behind


@pytest.mark.parametrize("name", ["all", "Here"])
async def test_nobody_is_called_what_means_everybody(auth: Auth, name: str) -> None:
    alice = await create_user(auth, "alice")
    with pytest.raises(Conflict):
        await create_user(auth, name)
    with pytest.raises(Conflict):
        await update_user(auth, ADMIN.id, alice["_id"], {"username": name})


@pytest.mark.parametrize(
    "actor", [Actor(), SYSTEM, user_actor(""), user_actor("nobody"), Actor(kind=Actor.VISITOR, id="theAdmin")]
)
async def test_only_users_act(auth: Auth, actor: Actor) -> None:
    with pytest.raises(LoginRequired):
        await auth.create_user(CreateUserRequest(actor=actor, username="x", email="x@example.org", password="x"))


async def test_creating_needs_permissions(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    actor = user_actor(alice["_id"])

    async def create(username: str, *roles: str) -> UserReply:
        email = f"{username}@example.org"
        return await auth.create_user(
            CreateUserRequest(actor=actor, username=username, email=email, password=PASSWORD, roles=roles)
        )

    with pytest.raises(NotAllowed) as raised:
        await create("bob")
    assert (raised.value.error_code, raised.value.details) == ("error-action-not-allowed", {"action": "Adding_user"})
    await grant(auth, "create-user", "user")
    await create("bob")
    await create("carol", "user")
    with pytest.raises(NotAllowed, match="Assign roles"):
        await create("dave", "guest")
    await grant(auth, "assign-roles", "user")
    await create("dave", "guest")
    with pytest.raises(NotAllowed, match="Assigning admin"):
        await create("eve", "admin")


@pytest.mark.parametrize("other", ["alice", "ALICE", "aLiCe"])
async def test_a_username_is_one_users_whatever_its_case(auth: Auth, other: str) -> None:
    await create_user(auth, "Alice")
    with pytest.raises(Conflict) as raised:
        await create_user(auth, other, email="other@example.org")
    assert raised.value.error_code == "error-field-unavailable"
    assert raised.value.error_reason == f"{other} is already in use :("
    assert raised.value.details == {"field": "username"}


async def test_an_address_is_one_users_whatever_its_case(auth: Auth) -> None:
    await create_user(auth, "alice", email="Us@example.org")
    with pytest.raises(Conflict) as raised:
        await create_user(auth, "bob", email="us@EXAMPLE.org")
    assert raised.value.details == {"field": "email"}
    await create_user(auth, "bob")  # the name of the failed one is free again


async def test_a_user_without_address(auth: Auth) -> None:
    for name in ("alice", "bob"):
        assert "emails" not in await create_user(auth, name, email="")


async def test_many_creations_of_one_name_make_one_user(auth: Auth) -> None:
    results = await asyncio.gather(
        *(create_user(auth, "alice" if n % 2 else "ALICE", email=f"a{n}@example.org") for n in range(8)),
        return_exceptions=True,
    )
    created = [result for result in results if isinstance(result, dict)]
    assert len(created) == 1
    assert all(isinstance(result, dict | Conflict) for result in results)
    reply = await auth.list_users(ListUsersRequest(actor=ADMIN, term="alice"))
    assert [loaded(user)["_id"] for user in reply.documents] == [created[0]["_id"]]


async def test_many_creations_with_one_address_make_one_user(auth: Auth) -> None:
    results = await asyncio.gather(
        *(create_user(auth, f"user{n}", email="same@example.org") for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, dict) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 7


async def test_a_chosen_id_is_used_once(auth: Auth) -> None:
    await create_user(auth, "alice", user_id="one")
    with pytest.raises(Conflict) as raised:
        await create_user(auth, "bob", user_id="one")
    assert raised.value.error_code == "error-user-already-exists"
    await create_user(auth, "bob")


async def test_the_password_policy_holds(auth: Auth) -> None:
    await set_setting(auth, "Accounts_Password_Policy_Enabled", True)
    with pytest.raises(InvalidInput) as raised:
        await create_user(auth, "alice", password="short")
    assert raised.value.error_code == "error-password-policy-not-met"
    await create_user(auth, "alice", password="Long enough 1")


async def test_the_pattern_of_usernames_is_a_setting(auth: Auth) -> None:
    await set_setting(auth, "UTF8_User_Names_Validation", "[a-zü]+")
    await create_user(auth, "müller", email="m@example.org")
    assert (await login(auth, "MÜLLER")).type == "password"
    with pytest.raises(InvalidInput):
        await create_user(auth, "mueller1")


async def test_custom_fields_are_declared(auth: Auth) -> None:
    assert "customFields" not in await create_user(auth, "alice", custom_fields=b'{"team": "red"}')
    await set_setting(auth, "Accounts_CustomFields", '{"team": {"required": true, "public": true}, "age": {}}')
    with pytest.raises(InvalidInput):
        await create_user(auth, "bob")
    fields = orjson.dumps({"team": "red", "age": 3, "other": 1})
    bob = await create_user(auth, "bob", custom_fields=fields)
    assert bob["customFields"] == {"team": "red", "age": 3}
    alice = await auth.get_users(GetUsersRequest(usernames=["alice"]))
    seen = await get_user(auth, loaded(alice.documents[0])["_id"], username="bob")
    assert seen["customFields"] == {"team": "red"}


# -- looking up ------------------------------------------------------------------------------------------------------


async def test_who_sees_what_of_whom(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice", bio="me"), await create_user(auth, "bob")
    own = await get_user(auth, alice["_id"], user_id=alice["_id"])
    seen_by_admin = await get_user(auth, ADMIN.id, username="ALICE")
    for full in (own, seen_by_admin):
        assert full["emails"][0]["address"] == "alice@example.org"
        assert full["roles"] == ["user"]
    seen = await get_user(auth, bob["_id"], username="alice")
    assert seen.keys() == {
        "_id",
        "username",
        "name",
        "type",
        "active",
        "status",
        "statusDefault",
        "utcOffset",
        "bio",
        "_updatedAt",
    }
    for document in (own, seen_by_admin, seen):
        assert "argon2" not in repr(document)
        assert not document.keys() & {"username_lower", "emails_lower", "applied_seq"}
    await grant(auth, "view-full-other-user-info", "user")
    assert "emails" in await get_user(auth, bob["_id"], username="alice")


async def test_what_somebody_prefers_is_told_nobody_else(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    preferred = {"preferences": {"highlights": ["salary"]}}
    await update_user(auth, alice["_id"], alice["_id"], preferred, own=True)
    assert (await get_user(auth, alice["_id"], user_id=alice["_id"]))["settings"] == preferred
    assert "settings" not in await get_user(auth, ADMIN.id, user_id=alice["_id"])
    for actor, shown in ((ADMIN, False), (user_actor(alice["_id"]), True)):
        reply = await auth.list_users(ListUsersRequest(actor=actor, filter=orjson.dumps({"username": "alice"})))
        assert ["settings" in loaded(document) for document in reply.documents] == [shown]


async def test_who_is_not_there(auth: Auth) -> None:
    for which in ({"user_id": "nobody"}, {"username": "nobody"}, {"username": ""}, {"import_id": "x"}):
        with pytest.raises(UserNotFound):
            await auth.get_user(GetUserRequest(actor=ADMIN, **which))  # type: ignore[arg-type]
        with pytest.raises(LoginRequired):
            await auth.get_user(GetUserRequest(**which))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        await auth.get_user(GetUserRequest(actor=ADMIN))
    with pytest.raises(LoginRequired):
        await auth.get_user(GetUserRequest(username="boss"))


async def test_several_at_once(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    await create_user(auth, "bob")
    reply = await auth.get_users(
        GetUsersRequest(user_ids=[alice["_id"], "nobody", alice["_id"]], usernames=["BOB", "alice", "x"])
    )
    users = [loaded(user) for user in reply.documents]
    assert sorted(user["username"] for user in users) == ["alice", "bob"]
    assert all("services" not in user for user in users)
    assert not (await auth.get_users(GetUsersRequest())).documents


async def names(auth: Auth, **fields: Any) -> list[str]:
    reply = await auth.list_users(ListUsersRequest(**{"actor": ADMIN, **fields}))
    return [loaded(user)["username"] for user in reply.documents]


async def test_what_users_are_found_by(auth: Auth) -> None:
    await create_user(auth, "alice", name="Liddell", nickname="Queen", bio="Paints roses, ÄRGERT Katzen")
    terms = {"username": "lic", "name": "iddel", "nickname": "quee", "bio": "ärgert k"}
    assert [await names(auth, term=term) for term in terms.values()] == [["alice"]] * 4
    for fields, searched in (
        ("username, bio", {"username", "bio"}),
        ("nickname,name", {"nickname", "name"}),
        ("bio", {"bio"}),
        ("phone", {"username"}),
    ):
        await set_setting(auth, "Accounts_SearchFields", fields)
        found = {field for field, term in terms.items() if await names(auth, term=term) == ["alice"]}
        assert found == searched


async def test_lists(auth: Auth) -> None:
    for name in ("alice", "bob", "carol", "dave"):
        await create_user(auth, name, roles=["guest"] if name == "dave" else [], inactive=name == "bob")
    everybody = ["alice", "bob", "boss", "carol", "dave", "rocket.cat"]
    assert await names(auth) == everybody
    assert await names(auth, sort=b'[["username", -1]]') == everybody[::-1]
    assert await names(auth, offset=1, count=2) == ["bob", "boss"]
    assert await names(auth, term="AR") == ["carol"]
    assert await names(auth, exceptions=["Alice", "boss"]) == ["bob", "carol", "dave", "rocket.cat"]
    assert await names(auth, role="guest") == ["dave"]
    alice = user_actor((await get_user(auth, ADMIN.id, username="alice"))["_id"])
    with pytest.raises(NotAllowed):
        await names(auth, role="guest", actor=alice)
    assert await names(auth, filter=b'{"active": false}') == ["bob"]
    assert await names(auth, filter=b'{"type": {"$in": ["bot"]}}') == ["rocket.cat"]
    assert await names(auth, filter=b'{"$or": [{"username": "alice"}, {"name": {"$contains": "dav"}}]}') == [
        "alice",
        "dave",
    ]
    assert await names(auth, filter=b'{"emails.address": "ALICE@example.org"}') == ["alice"]
    several = b'{"emails.address": {"$in": ["ALICE@example.org", "bob@example.org", "nobody@example.org"]}}'
    assert await names(auth, filter=several) == ["alice", "bob"]
    assert await names(auth, filter=b'{"roles": "admin"}') == ["boss"]
    await login(auth, "dave")
    await login(auth, "alice")
    assert await names(auth, sort=b'[["lastLogin", -1]]', count=2) == ["alice", "dave"]
    reply = await auth.list_users(ListUsersRequest(actor=ADMIN, count=2, offset=4, sort=b'[["createdAt", 1]]'))
    assert (reply.total, len(reply.documents)) == (6, 2)


async def test_who_may_see_addresses_finds_users_by_them(auth: Auth) -> None:
    alice, _ = await create_user(auth, "alice"), await create_user(auth, "bob")
    for term, found in (("ALICE@example.org", ["alice"]), (" bob@example.org ", ["bob"]), ("@example.org", [])):
        assert await names(auth, term=term) == found
    assert await names(auth, term="bob@example.org", exceptions=["bob"]) == []
    assert await names(auth, term="bob@example.org", actor=user_actor(alice["_id"])) == []


@pytest.mark.parametrize(
    "filter",
    [
        b"[]",
        b"1",
        b"{",
        b"\xff",
        b'{"services.password.argon2": {"$gte": ""}}',
        b'{"services": {"$exists": true}}',
        b'{"username": {"$regex": ".*"}}',
        b'{"username": {"$ne": {"a": 1}}}',
        b'{"username": 1}',
        b'{"username": ["a"]}',
        b'{"username": {}}',
        b'{"active": "yes"}',
        b'{"active": {"$in": [1]}}',
        b'{"createdAt": {"$gt": "2020"}}',
        b'{"$where": "1"}',
        b'{"$or": []}',
        b'{"$or": {"username": "a"}}',
        b'{"$and": [1]}',
        b'{"username": {"$exists": 1}}',
        b'{"emails.address": {"$gte": ""}}',
        b'{"emails.address": {"$in": "a"}}',
        b'{"emails.address": {"$in": [1]}}',
        b'{"emails.address": {"$in": ["a"], "$gte": ""}}',
        b'{"username": {"$in": "a"}}',
        b'{"deleted_at": {"$exists": true}}',
        b'{"$or": [' * 50 + b'{"username": "a"}' + b"]}" * 50,
        b'{"$or": [' + b",".join([b'{"username": "a"}'] * 200) + b"]}",
        b"[" * 100_000,
    ],
)
async def test_hostile_filters(auth: Auth, filter: bytes) -> None:
    with pytest.raises(InvalidInput) as raised:
        await names(auth, filter=filter)
    assert raised.value.error_code == "error-invalid-query"


@pytest.mark.parametrize(
    "sort",
    [b"{}", b"[1]", b'["username"]', b'[["username"]]', b'[["username", 2]]', b'[["services", 1]]', b"[[1, 1]]", b"{"],
)
async def test_hostile_orders(auth: Auth, sort: bytes) -> None:
    with pytest.raises(InvalidInput) as raised:
        await names(auth, sort=sort)
    assert raised.value.error_code == "error-invalid-sort"


async def test_lists_need_permissions(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    actor = user_actor(alice["_id"])
    reply = await auth.list_users(ListUsersRequest(actor=actor))
    seen = {user["username"]: user for user in map(loaded, reply.documents)}
    assert "emails" not in seen["boss"]
    assert "emails" in seen["alice"]
    with pytest.raises(InvalidInput):
        await names(auth, actor=actor, filter=b'{"emails.address": "boss@example.org"}')
    with pytest.raises(InvalidInput):
        await names(auth, offset=-1)
    await set_setting(auth, "API_Apply_permission_view-outside-room_on_users-list", True)
    await grant(auth, "view-outside-room", "admin")
    with pytest.raises(NotAllowed):
        await names(auth, actor=actor)
    await set_setting(auth, "API_Apply_permission_view-outside-room_on_users-list", False)
    await names(auth, actor=actor)
    await grant(auth, "view-d-room", "admin")
    with pytest.raises(NotAllowed) as raised:
        await names(auth, actor=actor)
    assert raised.value.error_code == "unauthorized"
