"""Changing users, their status, and whether they are active."""

import asyncio
from typing import Any

import pytest

from palaver.access import USERS_CHANGED
from palaver.api import Auth
from palaver.auth.rules import digest_of
from palaver.errors import (
    Conflict,
    InvalidInput,
    LoginFailed,
    LoginRequired,
    NotAllowed,
    SecondFactorRequired,
    UserNotFound,
)
from palaver.events import user_actor, user_stream
from palaver.v1.auth_pb2 import SetUserStatusRequest, UpdateUserRequest
from tests.auth.helpers import (
    PASSWORD,
    authenticate,
    create_user,
    grant,
    loaded,
    login,
    set_active,
    set_setting,
    update_user,
)
from tests.services import ADMIN_ID, RunningServices


async def update_own(auth: Auth, user_id: str, changes: Any, **fields: Any) -> dict[str, Any]:
    return await update_user(auth, user_id, user_id, changes, own=True, **fields)


async def set_status(auth: Auth, actor_id: str, **fields: Any) -> dict[str, Any]:
    return loaded((await auth.set_user_status(SetUserStatusRequest(actor=user_actor(actor_id), **fields))).user)


async def test_an_administrator_changes_a_user(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    changes = {
        "name": "Alice A.",
        "username": "alice2",
        "email": "new@example.org",
        "verified": True,
        "roles": ["user", "guest", "user"],
        "bio": "b",
        "nickname": "n",
        "statusText": "s",
        "requirePasswordChange": True,
        "language": "pt-BR",
        "utcOffset": 5.5,
        "avatarETag": "e",
    }
    changed = await update_user(auth, ADMIN_ID, alice["_id"], changes)
    expected = {**changes, "roles": ["user", "guest"], "emails": [{"address": "new@example.org", "verified": True}]}
    del expected["email"], expected["verified"]
    assert {name: changed.get(name) for name in expected} == expected
    assert changed["_updatedAt"]["$date"] >= alice["_updatedAt"]["$date"]
    assert (await login(auth, "ALICE2")).user_id == alice["_id"]
    for gone in ("alice", "alice@example.org"):
        with pytest.raises(LoginFailed):
            await login(auth, gone)
    await create_user(auth, "alice")  # both the name and the address are free again


async def test_empty_values_remove(auth: Auth) -> None:
    alice = await create_user(auth, "alice", bio="b", nickname="n")
    changed = await update_user(
        auth, ADMIN_ID, alice["_id"], {"bio": "", "nickname": "", "avatarETag": None, "statusText": "", "email": ""}
    )
    assert not changed.keys() & {"bio", "nickname", "avatarETag"}
    assert (changed["statusText"], changed["emails"]) == ("", [])


async def test_what_does_not_change_is_no_event(auth: Auth, running: RunningServices) -> None:
    alice = await create_user(auth, "alice")
    before = await running.node.database.get_head(user_stream(alice["_id"]))
    for changes in ({}, {"name": "Alice"}, {"username": "alice", "email": "alice@example.org"}, {"bio": ""}):
        assert await update_user(auth, ADMIN_ID, alice["_id"], changes) == alice
    assert await running.node.database.get_head(user_stream(alice["_id"])) == before


@pytest.mark.parametrize(
    "changes",
    [
        [],
        1,
        "text",
        None,
        {"unknown": 1},
        {"services": {}},
        {"_id": "x"},
        {"active": False},
        {"type": "bot"},
        {"name": {"$ne": ""}},
        {"name": None},
        {"name": 1},
        {"name": "x" * 300},
        {"username": ""},
        {"username": "a b"},
        {"username": {"$regex": ".*"}},
        {"email": "x"},
        {"email": ["a@b"]},
        {"password": ""},
        {"password": 1},
        {"password": {"digest": "x"}},
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": ["nothing"]},
        {"roles": ["moderator"]},
        {"bio": "x" * 300},
        {"nickname": "x" * 300},
        {"statusText": "x" * 300},
        {"customFields": []},
        {"verified": "yes"},
        {"requirePasswordChange": 1},
        {"preferences": {"unknown": 1}},
        {"preferences": {"desktopNotifications": {"$ne": ""}}},
        {"language": "../../etc"},
        {"utcOffset": "1"},
        {"utcOffset": 99},
        {"avatarETag": "x" * 300},
    ],
)
async def test_hostile_changes(auth: Auth, changes: Any) -> None:
    alice = await create_user(auth, "alice")
    with pytest.raises(InvalidInput):
        await update_user(auth, ADMIN_ID, alice["_id"], changes)
    with pytest.raises((InvalidInput, NotAllowed)):
        await update_own(auth, alice["_id"], changes)


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b'{"name": "\\ud800"}', b'{"utcOffset": 1e999}'])
async def test_hostile_bytes(auth: Auth, data: bytes) -> None:
    alice = await create_user(auth, "alice")
    with pytest.raises(InvalidInput):
        await auth.update_user(UpdateUserRequest(actor=user_actor(ADMIN_ID), user_id=alice["_id"], set=data))


async def test_unknown_and_taken(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    await create_user(auth, "bob")
    with pytest.raises(UserNotFound):
        await update_user(auth, ADMIN_ID, "nobody", {"name": "x"})
    for changes in ({"username": "BOB"}, {"email": "BOB@example.org"}):
        with pytest.raises(Conflict) as raised:
            await update_user(auth, ADMIN_ID, alice["_id"], changes)
        assert raised.value.error_code == "error-field-unavailable"
    assert (await update_user(auth, ADMIN_ID, alice["_id"], {"username": "ALICE"}))["username"] == "ALICE"


async def test_two_users_want_one_new_name(auth: Auth) -> None:
    users = [await create_user(auth, f"user{n}") for n in range(5)]
    results = await asyncio.gather(
        *(update_user(auth, ADMIN_ID, user["_id"], {"username": "wanted"}) for user in users), return_exceptions=True
    )
    assert sum(isinstance(result, dict) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 4


async def test_changes_of_others_need_permissions(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice"), await create_user(auth, "bob")
    needed = [
        ({"name": "B"}, "edit-other-user-info"),
        ({"password": "another one"}, "edit-other-user-password"),
        ({"roles": ["guest"]}, "assign-roles"),
        ({"avatarETag": "x"}, "edit-other-user-avatar"),
    ]
    for changes, permission in needed:
        with pytest.raises(NotAllowed) as raised:
            await update_user(auth, alice["_id"], bob["_id"], changes)
        assert raised.value.error_code == "error-action-not-allowed"
        await grant(auth, permission, "user")
        await update_user(auth, alice["_id"], bob["_id"], changes)
    with pytest.raises(NotAllowed, match="Assigning admin"):
        await update_user(auth, alice["_id"], bob["_id"], {"roles": ["admin"]})
    with pytest.raises(NotAllowed, match="Assigning admin"):
        await update_user(auth, alice["_id"], ADMIN_ID, {"roles": ["user"]})
    with pytest.raises(NotAllowed):
        await update_user(auth, alice["_id"], bob["_id"], {"name": "x"}, own=True)


async def test_own_changes_and_the_settings_that_allow_them(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    cases = [
        ("Accounts_AllowRealNameChange", {"name": "A"}),
        ("Accounts_AllowUsernameChange", {"username": "alicia"}),
        ("Accounts_AllowEmailChange", {"email": "a@example.org"}),
        ("Accounts_AllowPasswordChange", {"password": "another one"}),
        ("Accounts_AllowUserStatusMessageChange", {"statusText": "x"}),
        ("Accounts_AllowUserAvatarChange", {"avatarETag": "x"}),
        ("Accounts_AllowUserProfileChange", {"bio": "x"}),
    ]
    for setting, changes in cases:
        await set_setting(auth, setting, False)
        with pytest.raises(NotAllowed):
            await update_own(auth, alice["_id"], changes)
        await set_setting(auth, setting, True)
        await update_own(auth, alice["_id"], changes)
    for forbidden in ({"roles": ["admin"]}, {"verified": True}, {"requirePasswordChange": False}):
        with pytest.raises(NotAllowed):
            await update_own(auth, alice["_id"], forbidden)
    with pytest.raises(Conflict):
        await update_own(auth, alice["_id"], {"username": "admin"})
    # The way of administrators is no way around it.
    with pytest.raises(NotAllowed):
        await update_user(auth, alice["_id"], alice["_id"], {"roles": ["admin"]})


async def test_a_new_address_is_not_verified(auth: Auth) -> None:
    alice = await create_user(auth, "alice", verified=True)
    changed = await update_own(auth, alice["_id"], {"email": "new@example.org"})
    assert changed["emails"] == [{"address": "new@example.org", "verified": False}]


async def test_passwords_change(auth: Auth) -> None:
    alice = await create_user(auth, "alice", require_password_change=True)
    other, mine = await login(auth, "alice"), await login(auth, "alice")
    token = mine.token
    changed = await update_own(auth, alice["_id"], {"password": "second"}, hashed_token=mine.hashed_token)
    assert "requirePasswordChange" not in changed
    await authenticate(auth, token)
    with pytest.raises(LoginRequired):
        await authenticate(auth, other.token)
    with pytest.raises(LoginFailed):
        await login(auth, "alice")
    await login(auth, "alice", "second")
    await update_user(auth, ADMIN_ID, alice["_id"], {"password": "third", "requirePasswordChange": True})
    with pytest.raises(LoginRequired):
        await authenticate(auth, token)
    third = await login(auth, "alice", "third")
    assert loaded(third.user)["requirePasswordChange"] is True
    await update_user(auth, ADMIN_ID, alice["_id"], {"password": "fourth"}, hashed_token=third.hashed_token)
    with pytest.raises(LoginRequired):
        await authenticate(auth, third.token)


async def test_the_current_password_is_asked_for(auth: Auth, running: RunningServices) -> None:
    alice = await create_user(auth, "alice")
    running.node.config = type(running.config)()  # not in test mode
    for changes in ({"password": "second"}, {"email": "x@example.org"}):
        with pytest.raises(SecondFactorRequired) as asked:
            await update_own(auth, alice["_id"], changes)
        assert asked.value.error_code == "totp-required"
        assert asked.value.details == {"method": "password", "availableMethods": []}
        with pytest.raises(NotAllowed) as wrong:
            await update_own(auth, alice["_id"], changes, current_password="wrong")
        assert wrong.value.error_code == "error-invalid-password"
    await update_own(auth, alice["_id"], {"email": "x@example.org"}, current_password=digest_of(PASSWORD))
    await update_own(auth, alice["_id"], {"password": "second"}, current_password=PASSWORD)
    await login(auth, "alice", "second")


async def test_a_picture_of_somebody_else_takes_no_second_factor(auth: Auth, running: RunningServices) -> None:
    """No client asks for one when it sets a picture, and nobody gets into an account by it."""
    alice = await create_user(auth, "alice")
    running.node.config = type(running.config)()  # not in test mode
    with pytest.raises(SecondFactorRequired):
        await update_user(auth, ADMIN_ID, alice["_id"], {"name": "x"})
    changed = await update_user(auth, ADMIN_ID, alice["_id"], {"avatarETag": "picture", "avatarOrigin": "rest"})
    assert changed["avatarETag"] == "picture"
    changed = await update_user(auth, ADMIN_ID, alice["_id"], {"avatarETag": None, "avatarOrigin": None})
    assert "avatarETag" not in changed


async def test_preferences_are_merged(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    assert "settings" not in alice
    await update_own(auth, alice["_id"], {"preferences": {"desktopNotifications": "mentions"}})
    changed = await update_own(auth, alice["_id"], {"preferences": {"enableAutoAway": False, "language": "de"}})
    assert changed["settings"] == {
        "preferences": {"desktopNotifications": "mentions", "enableAutoAway": False, "language": "de"}
    }
    assert changed["language"] == "de"


async def test_preferences_of_one_user_set_at_once_are_all_kept(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    wanted: dict[str, Any] = {"enableAutoAway": False, "useEmojis": False, "hideRoles": True, "idleTimeLimit": 10}
    await asyncio.gather(
        *(update_own(auth, alice["_id"], {"preferences": {name: value}}) for name, value in wanted.items())
    )
    changed = await update_own(auth, alice["_id"], {})
    assert changed["settings"]["preferences"] == wanted


async def test_every_node_hears_of_a_change(auth: Auth, running: RunningServices) -> None:
    alice = await create_user(auth, "alice")
    heard: asyncio.Queue[str] = asyncio.Queue()
    await running.node.live.subscribe(USERS_CHANGED, lambda message: heard.put_nowait(message.decode()))
    for change in (update_own(auth, alice["_id"], {"name": "A"}), set_active(auth, alice["_id"], False)):
        await change
        # Told before the answer; between processes the news may still be on its way.
        assert await asyncio.wait_for(heard.get(), 30) == alice["_id"]
    assert heard.empty()
    user = await running.node.access.find_user(alice["_id"])
    assert user is not None
    assert (user.name, user.active) == ("A", False)


# -- status ----------------------------------------------------------------------------------------------------------


async def test_status(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    changed = await set_status(auth, alice["_id"], status="busy", status_text="at work")
    assert (changed["statusDefault"], changed["statusText"]) == ("busy", "at work")
    changed = await set_status(auth, alice["_id"], status_text="")
    assert (changed["statusDefault"], changed["statusText"]) == ("busy", "")
    changed = await set_status(auth, alice["_id"], status="offline")
    assert (changed["statusDefault"], changed["statusText"]) == ("offline", "")


async def test_status_obeys_the_settings(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    for status in ("", "invisible", "Online", "x" * 1000):
        with pytest.raises(InvalidInput) as invalid:
            await set_status(auth, alice["_id"], status=status)
        assert invalid.value.error_code == "error-invalid-status"
    with pytest.raises(InvalidInput):
        await set_status(auth, alice["_id"], status_text="x" * 121)
    await set_setting(auth, "Accounts_AllowInvisibleStatusOption", False)
    with pytest.raises(NotAllowed) as hidden:
        await set_status(auth, alice["_id"], status="offline")
    assert hidden.value.error_code == "error-status-not-allowed"
    await set_setting(auth, "Accounts_AllowUserStatusMessageChange", False)
    with pytest.raises(NotAllowed) as text:
        await set_status(auth, alice["_id"], status_text="x")
    assert text.value.error_code == "error-not-allowed"
    await set_status(auth, alice["_id"], status="away")


async def test_the_status_of_others(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice"), await create_user(auth, "bob")
    with pytest.raises(NotAllowed) as raised:
        await set_status(auth, alice["_id"], user_id=bob["_id"], status="busy")
    assert raised.value.error_code == "unauthorized"
    assert (await set_status(auth, ADMIN_ID, user_id=bob["_id"], status="busy"))["statusDefault"] == "busy"
    with pytest.raises(UserNotFound):
        await set_status(auth, ADMIN_ID, user_id="nobody", status="busy")
