"""Who may come in: activating, deactivating, and what every node learns of it."""

import asyncio
import contextlib
import json

import orjson
import pytest

from palaver.access import USERS_CHANGED
from palaver.api import Auth
from palaver.errors import (
    InvalidInput,
    LoginFailed,
    LoginRequired,
    NotAllowed,
    PalaverError,
    Unavailable,
    UserNotFound,
)
from palaver.events import user_actor
from palaver.v1.auth_pb2 import UpdateUserRequest, UserRoleRequest
from tests.auth.helpers import (
    ADMIN,
    authenticate,
    create_user,
    grant,
    login,
    set_active,
    set_setting,
    update_user,
)
from tests.services import ADMIN_ID, ADMIN_PASSWORD, RunningServices


async def test_activating_needs_a_permission(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice"), await create_user(auth, "bob")
    with pytest.raises(NotAllowed) as raised:
        await set_active(auth, bob["_id"], False, alice["_id"])
    assert raised.value.error_code == "unauthorized"
    await grant(auth, "edit-other-user-active-status", "user")
    assert (await set_active(auth, bob["_id"], False, alice["_id"]))["active"] is False
    for active in (True, False):
        with pytest.raises(UserNotFound):
            await set_active(auth, "nobody", active)


async def test_the_last_administrator_stays(auth: Auth) -> None:
    with pytest.raises(NotAllowed) as deactivated:
        await set_active(auth, ADMIN_ID, False)
    assert deactivated.value.error_code == "error-action-not-allowed"
    with pytest.raises(InvalidInput) as demoted:
        await update_user(auth, ADMIN_ID, ADMIN_ID, {"roles": ["user"]})
    assert demoted.value.error_code == "error-admin-required"
    second = await create_user(auth, "second", roles=["admin"], inactive=True)
    with pytest.raises(NotAllowed):
        await set_active(auth, ADMIN_ID, False)  # an administrator who can't log in is none
    await set_active(auth, second["_id"], True)
    await set_active(auth, ADMIN_ID, False)
    with pytest.raises(LoginFailed):
        await login(auth, "boss", ADMIN_PASSWORD)


async def test_administrators_who_take_each_other_away_leave_one(auth: Auth) -> None:
    others = [await create_user(auth, f"admin{n}", roles=["admin"]) for n in range(3)]
    admins = [ADMIN_ID, *(other["_id"] for other in others)]
    commands = [
        set_active(auth, other, False, actor_id) for actor_id in admins for other in admins if other != actor_id
    ]
    results = await asyncio.gather(*commands, return_exceptions=True)
    assert all(isinstance(result, dict | PalaverError) for result in results)
    left = []
    for admin in admins:
        with contextlib.suppress(LoginRequired):
            left.append(await set_active(auth, admin, True, admin))
    assert len(left) == 1


async def test_a_document_is_json_that_can_be_stored(auth: Auth) -> None:
    await set_setting(auth, "Accounts_CustomFields", orjson.dumps({"a": {}}).decode())
    alice = await create_user(auth, "alice")
    for value in (str(2**80), '{"$date": 1}', json.dumps([[[]]] * 5000)):
        data = f'{{"customFields": {{"a": {value}}}}}'.encode()
        request = UpdateUserRequest(actor=user_actor(ADMIN_ID), user_id=alice["_id"], set=data)
        with pytest.raises(InvalidInput):
            await auth.update_user(request)


async def _fail_to_tell_once(running: RunningServices, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes the next message about a changed user fail; returns the list of the users who are told of later."""
    live, told = running.node.live, list[str]()
    publish = live.publish
    fails = [True]

    async def publish_or_fail(subject: str, message: bytes) -> None:
        if subject == USERS_CHANGED and fails:
            fails.clear()
            raise Unavailable
        if subject == USERS_CHANGED:
            told.append(message.decode())
        await publish(subject, message)

    monkeypatch.setattr(live, "publish", publish_or_fail)
    return told


async def test_a_deactivated_user_is_out_though_nobody_could_be_told(
    auth: Auth, running: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await create_user(auth, "ann")
    token = (await login(auth, "ann")).token
    await authenticate(auth, token)
    told = await _fail_to_tell_once(running, monkeypatch)
    await set_active(auth, ann["_id"], False)
    assert await running.node.database.find("tokens", {"user_id": ann["_id"], "revoked_at": None}) == []
    with pytest.raises(LoginRequired):
        await authenticate(auth, token)
    with pytest.raises(LoginRequired):
        await running.node.access.get_actor(user_actor(ann["_id"]))
    await set_active(auth, ann["_id"], False)
    assert ann["_id"] in told


async def test_a_taken_role_is_told_of_again(
    auth: Auth, running: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await create_user(auth, "ann")
    await update_user(auth, ADMIN_ID, ann["_id"], {"roles": ["user", "bot"]})
    access = running.node.access
    await access.get_actor(user_actor(ann["_id"]))
    told = await _fail_to_tell_once(running, monkeypatch)
    request = UserRoleRequest(actor=ADMIN, user_id=ann["_id"], role_id="bot")
    await auth.remove_user_from_role(request)
    assert (await access.get_actor(user_actor(ann["_id"]))).roles == ("user",)
    with pytest.raises(InvalidInput):
        await auth.remove_user_from_role(request)
    assert told == [ann["_id"]]
    await auth.add_user_to_role(request)
    with pytest.raises(InvalidInput):
        await auth.add_user_to_role(request)
    assert told == [ann["_id"]] * 3


async def test_without_leases_everybody_can_be_kept_out(
    auth: Auth, running: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await create_user(auth, "ann")
    other = await create_user(auth, "other", roles=["user", "admin"])
    token = (await login(auth, "ann")).token

    async def away(name: str, holder: str, seconds: float) -> bool:
        raise Unavailable

    monkeypatch.setattr(running.node.live, "acquire", away)
    await set_active(auth, ann["_id"], False)
    with pytest.raises(LoginRequired):
        await authenticate(auth, token)
    assert (await set_active(auth, other["_id"], False))["active"] is False
    with pytest.raises(NotAllowed):
        await set_active(auth, ADMIN_ID, False)
