"""Accounts that end, and those of whom nothing was heard for long."""

import hashlib

import orjson
import pytest

from palaver.api import Auth
from palaver.commit import Draft, now
from palaver.errors import LoginFailed, LoginRequired, NotAllowed, SecondFactorRequired, UserNotFound
from palaver.events import user_actor, user_stream
from palaver.v1.auth_pb2 import DeactivateIdleRequest, DeleteUserRequest, GetUserRequest, UpdateUserRequest
from palaver.v1.event_pb2 import Event, TokenIssued
from tests.auth.helpers import ADMIN, PASSWORD, authenticate, create_user, login, set_setting
from tests.services import ADMIN_ID, RunningServices


async def test_a_deleted_account_is_no_more(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    token = (await login(auth, "alice")).token
    await auth.delete_user(DeleteUserRequest(actor=ADMIN, user_id=alice["_id"]))
    with pytest.raises(LoginRequired):
        await authenticate(auth, token)
    with pytest.raises(LoginFailed):
        await login(auth, "alice")
    with pytest.raises(UserNotFound):
        await auth.get_user(GetUserRequest(actor=ADMIN, user_id=alice["_id"]))
    with pytest.raises(UserNotFound):
        await auth.delete_user(DeleteUserRequest(actor=ADMIN, user_id=alice["_id"]))
    # Name and address are anybody's again.
    assert (await create_user(auth, "Alice", email="alice@example.org"))["_id"] != alice["_id"]


async def test_who_may_delete_whom(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice"), await create_user(auth, "bob")
    await create_user(auth, "robot", type="app")
    for actor, target, code in (
        (user_actor(alice["_id"]), bob["_id"], "error-not-allowed"),
        (user_actor(alice["_id"]), alice["_id"], "error-not-allowed"),
        (ADMIN, "rocket.cat", "error-not-allowed"),
        (ADMIN, ADMIN_ID, "error-action-not-allowed"),  # the last administrator
    ):
        with pytest.raises(NotAllowed) as refusal:
            await auth.delete_user(DeleteUserRequest(actor=actor, user_id=target))
        assert refusal.value.error_code == code
    second = await create_user(auth, "second", roles=["admin"])
    await auth.delete_user(DeleteUserRequest(actor=ADMIN, user_id=second["_id"]))
    with pytest.raises(NotAllowed):
        await auth.delete_user(DeleteUserRequest(actor=ADMIN, user_id=ADMIN_ID))


async def test_ones_own_account(auth: Auth) -> None:
    alice = user_actor((await create_user(auth, "alice"))["_id"])
    with pytest.raises(NotAllowed):
        await auth.delete_user(DeleteUserRequest(actor=alice, own=True, password=PASSWORD))
    await set_setting(auth, "Accounts_AllowDeleteOwnAccount", True)
    for wrong in ("", "wrong", "alice", "0" * 64):
        with pytest.raises(NotAllowed) as refusal:
            await auth.delete_user(DeleteUserRequest(actor=alice, own=True, password=wrong))
        assert refusal.value.error_code == "error-invalid-password"
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    # Whose account it is, is who acts, whatever else the request says.
    await auth.delete_user(DeleteUserRequest(actor=alice, own=True, password=digest, user_id=ADMIN_ID))
    with pytest.raises(LoginFailed):
        await login(auth, "alice")
    await login(auth, "boss", "an admin's password")


async def test_a_login_is_not_enough_to_guess_the_password(auth: Auth) -> None:
    user_id = (await create_user(auth, "alice"))["_id"]
    alice = user_actor(user_id)
    await set_setting(auth, "Accounts_AllowDeleteOwnAccount", True)
    changes = orjson.dumps({"email": "mallory@example.org"})
    request = UpdateUserRequest(actor=alice, user_id=user_id, own=True, set=changes, current_password="wrong")
    for _ in range(5):
        with pytest.raises(NotAllowed):
            await auth.delete_user(DeleteUserRequest(actor=alice, own=True, password="wrong"))
        with pytest.raises(NotAllowed):
            await auth.update_user(request)
    request.current_password = PASSWORD
    for attempt in (
        auth.delete_user(DeleteUserRequest(actor=alice, own=True, password=PASSWORD)),
        auth.update_user(request),
    ):
        with pytest.raises(SecondFactorRequired) as refusal:
            await attempt
        assert refusal.value.error_code == "totp-max-attempts"
    await login(auth, "alice")


async def _had_logged_in(running: RunningServices, user_id: str, days_ago: int) -> None:
    """A login of that day stands in the user's stream."""

    async def decide(draft: Draft) -> None:
        event = Event(token_issued=TokenIssued(hashed_token=f"old-{user_id}", token=b'{"type":"resume"}'))
        draft.append(event, actor=user_actor(user_id), at=now() - days_ago * 86_400_000)

    await running.node.commits.execute(user_stream(user_id), decide)


async def test_who_was_not_here_for_long_is_deactivated(auth: Auth, running: RunningServices) -> None:
    users = {name: await create_user(auth, name) for name in ("old", "new", "never", "guest")}
    await create_user(auth, "second", roles=["admin"], user_id="second")
    await _had_logged_in(running, users["old"]["_id"], 100)
    await _had_logged_in(running, users["new"]["_id"], 10)
    await _had_logged_in(running, "second", 100)
    actor = user_actor(users["new"]["_id"])
    with pytest.raises(NotAllowed):
        await auth.deactivate_idle(DeactivateIdleRequest(actor=actor, days=30, role="user"))
    reply = await auth.deactivate_idle(DeactivateIdleRequest(actor=ADMIN, days=30, role="user"))
    assert (reply.count, reply.more) == (1, False)
    with pytest.raises(LoginRequired):
        await login(auth, "old")
    await login(auth, "new")
    await login(auth, "never")
    reply = await auth.deactivate_idle(DeactivateIdleRequest(actor=ADMIN, days=30, role="user"))
    assert reply.count == 0
    reply = await auth.deactivate_idle(DeactivateIdleRequest(actor=ADMIN, days=30, role="admin"))
    assert reply.count == 1
