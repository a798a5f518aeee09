"""Personal access tokens: made, used, replaced, removed; and logins that one makes for another."""

import asyncio
from typing import Any

import pytest

from palaver.api import Auth
from palaver.errors import Conflict, InvalidInput, LoginFailed, LoginRequired, NotAllowed, UserNotFound
from palaver.events import user_actor, user_stream
from palaver.v1.auth_pb2 import (
    CreateTokenRequest,
    IssuePersonalTokenRequest,
    ListPersonalTokensRequest,
    LoginRequest,
    LogoutRequest,
    RemovePersonalTokenRequest,
)
from tests.auth.helpers import (
    ADMIN,
    PASSWORD,
    authenticate,
    create_user,
    grant,
    loaded,
    login,
    set_active,
    update_user,
)
from tests.services import RunningServices


async def issue(auth: Auth, user_id: str, name: str, **fields: Any) -> str:
    request = IssuePersonalTokenRequest(actor=user_actor(user_id), name=name, **fields)
    return (await auth.issue_personal_token(request)).token


async def remove(auth: Auth, user_id: str, name: str) -> None:
    await auth.remove_personal_token(RemovePersonalTokenRequest(actor=user_actor(user_id), name=name))


async def names(auth: Auth, user_id: str) -> list[str]:
    reply = await auth.list_personal_tokens(ListPersonalTokensRequest(actor=user_actor(user_id)))
    return [loaded(token)["name"] for token in reply.documents]


async def works(auth: Auth, token: str) -> bool:
    try:
        await authenticate(auth, token)
    except LoginRequired:
        return False
    return True


async def test_a_token_is_told_once_and_works_without_end(auth: Auth, running: RunningServices) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    token = await issue(auth, alice, " robot ", bypass_second_factor=True)
    found = await authenticate(auth, token, alice)
    assert (found.user_id, found.expires_at) == (alice, 0)
    resumed = await auth.login(LoginRequest(resume=token))
    assert (resumed.user_id, resumed.token) == (alice, token)
    assert resumed.expires_at > 0  # clients of DDP can't do without
    reply = await auth.list_personal_tokens(ListPersonalTokensRequest(actor=user_actor(alice)))
    (shown,) = map(loaded, reply.documents)
    assert shown.pop("createdAt")["$date"] > 0
    assert shown == {"name": "robot", "lastTokenPart": token[-6:], "bypassTwoFactor": True}
    events = await running.node.database.list_events(user_stream(alice), 0)
    assert all(token.encode() not in event.SerializeToString() for event in events)


async def test_two_have_no_name_in_common(auth: Auth) -> None:
    alice, bob = [(await create_user(auth, name))["_id"] for name in ("alice", "bob")]
    await issue(auth, alice, "robot")
    with pytest.raises(Conflict) as raised:
        await issue(auth, alice, "robot")
    assert raised.value.error_code == "error-token-already-exists"
    await issue(auth, bob, "robot")
    results = await asyncio.gather(*(issue(auth, bob, "other") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, str) for result in results) == 1
    assert await names(auth, bob) == ["robot", "other"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\x00b", "a\nb"])
async def test_a_name_is_a_line(auth: Auth, name: str) -> None:
    with pytest.raises(InvalidInput):
        await issue(auth, (await create_user(auth, "alice"))["_id"], name)


async def test_a_new_one_takes_the_place_of_the_old(auth: Auth) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    with pytest.raises(InvalidInput) as raised:
        await issue(auth, alice, "robot", replace=True)
    assert raised.value.error_code == "error-token-does-not-exists"
    old, other = await issue(auth, alice, "robot", bypass_second_factor=True), await issue(auth, alice, "other")
    new = await issue(auth, alice, "robot", replace=True)
    assert [await works(auth, token) for token in (old, new, other)] == [False, True, True]
    reply = await auth.list_personal_tokens(ListPersonalTokensRequest(actor=user_actor(alice)))
    assert {(shown["name"], shown["bypassTwoFactor"]) for shown in map(loaded, reply.documents)} == {
        ("robot", True),
        ("other", False),
    }


async def test_a_removed_one_is_refused_at_once(auth: Auth) -> None:
    alice, bob = [(await create_user(auth, name))["_id"] for name in ("alice", "bob")]
    token = await issue(auth, alice, "robot")
    assert await works(auth, token)
    with pytest.raises(InvalidInput):
        await remove(auth, bob, "robot")
    await remove(auth, alice, "robot")
    assert not await works(auth, token)
    assert await names(auth, alice) == []
    with pytest.raises(InvalidInput):
        await remove(auth, alice, "robot")
    await issue(auth, alice, "robot")


async def test_what_ends_the_logins_of_devices_leaves_them(auth: Auth) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    token = await issue(auth, alice, "robot")
    mine, other = await login(auth, "alice"), await login(auth, "alice")
    actor = user_actor(alice)
    await auth.logout(LogoutRequest(actor=actor, hashed_token=mine.hashed_token, others=True))
    assert [await works(auth, t) for t in (mine.token, other.token, token)] == [True, False, True]
    changes = {"password": "another long one"}
    await update_user(auth, alice, alice, changes, own=True, current_password=PASSWORD, hashed_token=mine.hashed_token)
    assert [await works(auth, t) for t in (mine.token, token)] == [True, True]


async def test_what_ends_everything_ends_them(auth: Auth) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    token = await issue(auth, alice, "robot")
    await update_user(auth, "theAdmin", alice, {"password": "by the administrator"})
    assert not await works(auth, token)
    token = await issue(auth, alice, "robot")
    await auth.logout(LogoutRequest(actor=user_actor(alice), all=True))
    assert not await works(auth, token)
    token = await issue(auth, alice, "robot")
    await set_active(auth, alice, False)
    await set_active(auth, alice, True)
    assert not await works(auth, token)


async def test_the_permission_says_who_may_have_some(auth: Auth) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    token = await issue(auth, alice, "robot")
    await grant(auth, "create-personal-access-tokens", "admin")
    for call in (issue(auth, alice, "another"), remove(auth, alice, "robot"), names(auth, alice)):
        with pytest.raises(NotAllowed) as raised:
            await call
        assert raised.value.error_code == "not-authorized"
    assert await works(auth, token)


async def test_nobody_has_them_without_end(auth: Auth) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    for number in range(100):
        await issue(auth, alice, f"robot {number}")
    with pytest.raises(InvalidInput) as raised:
        await issue(auth, alice, "one more")
    assert raised.value.error_code == "error-too-many-tokens"
    await issue(auth, alice, "robot 7", replace=True)


async def test_a_login_for_somebody_else_needs_the_permission(auth: Auth) -> None:
    alice, bob = [(await create_user(auth, name))["_id"] for name in ("alice", "bob")]
    with pytest.raises(NotAllowed) as raised:
        await auth.create_token(CreateTokenRequest(actor=user_actor(alice), user_id=bob))
    assert raised.value.error_code == "error-not-authorized"
    reply = await auth.create_token(CreateTokenRequest(actor=ADMIN, user_id=bob))
    assert (await authenticate(auth, reply.token, bob)).expires_at > 0
    with pytest.raises(UserNotFound):
        await auth.create_token(CreateTokenRequest(actor=ADMIN, user_id="nobody"))
    await set_active(auth, alice, False)
    with pytest.raises(LoginFailed):
        await auth.create_token(CreateTokenRequest(actor=ADMIN, user_id=alice))
