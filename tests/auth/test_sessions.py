"""The logins that stand: where each came from, and that they can be ended."""

import dataclasses
from typing import Any

import pytest

from palaver.api import Auth
from palaver.auth import sessions
from palaver.commit import now
from palaver.errors import InvalidInput, LoginRequired, NotAllowed, NotFound, SecondFactorRequired
from palaver.events import user_actor
from palaver.v1.auth_pb2 import (
    EndSessionRequest,
    GetSessionRequest,
    IssuePersonalTokenRequest,
    ListSessionsRequest,
    LogoutRequest,
)
from tests.auth.helpers import ADMIN, authenticate, create_user, grant, loaded, login
from tests.services import ADMIN_PASSWORD, RunningServices

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"


async def page(auth: Auth, user_id: str, **fields: Any) -> tuple[list[dict[str, Any]], int]:
    reply = await auth.list_sessions(ListSessionsRequest(actor=user_actor(user_id), **fields))
    return [loaded(session) for session in reply.documents], reply.total


async def test_ones_own(auth: Auth, running: RunningServices) -> None:
    alice, bob = [(await create_user(auth, name))["_id"] for name in ("alice", "bob")]
    reply = await login(auth, "alice", address="192.0.2.1", user_agent=FIREFOX, instance_id="gateway-1")
    second = await login(auth, "alice", user_agent="robot/1.0")
    await login(auth, "bob")
    await auth.issue_personal_token(IssuePersonalTokenRequest(actor=user_actor(alice), name="robot"))
    (newest, oldest), total = await page(auth, alice)
    assert total == 2
    assert reply.hashed_token not in repr(newest) + repr(oldest)
    assert (newest["device"]["name"], oldest["device"]["name"]) == ("robot", "Firefox")
    assert oldest.pop("loginAt")["$date"] > 0
    assert oldest.pop("expiresAt")["$date"] == reply.expires_at
    session_id = oldest.pop("sessionId")
    assert oldest == {
        "_id": session_id,
        "userId": alice,
        "instanceId": "gateway-1",
        "ip": "192.0.2.1",
        "type": "password",
        "device": {
            "type": "browser",
            "name": "Firefox",
            "version": "144.0",
            "longVersion": "144.0",
            "os": {"name": "Linux", "version": ""},
        },
    }
    assert [s["sessionId"] for s in (await page(auth, alice, filter="firefox"))[0]] == [session_id]
    by_device, _ = await page(auth, alice, sort="device.name", ascending=True)
    assert by_device[0]["sessionId"] == session_id
    assert (await page(auth, alice, offset=1, count=1))[0][0]["sessionId"] == session_id
    got = loaded((await auth.get_session(GetSessionRequest(actor=user_actor(alice), session_id=session_id))).document)
    assert (got["sessionId"], got["_user"]["username"]) == (session_id, "alice")
    with pytest.raises(NotFound):
        await auth.get_session(GetSessionRequest(actor=user_actor(bob), session_id=session_id))
    with pytest.raises(NotFound):
        await auth.end_session(EndSessionRequest(actor=user_actor(bob), session_id=session_id))
    await auth.end_session(EndSessionRequest(actor=user_actor(alice), session_id=session_id))
    with pytest.raises(LoginRequired):
        await authenticate(auth, reply.token)
    await authenticate(auth, second.token)
    for again in (session_id, "", "unknown"):
        with pytest.raises(NotFound):
            await auth.end_session(EndSessionRequest(actor=user_actor(alice), session_id=again))


async def test_everybodys(auth: Auth) -> None:
    alice = (await create_user(auth, "alice", name="Alice Adams"))["_id"]
    replies = [await login(auth, "alice") for _ in range(3)]
    await login(auth, "boss", ADMIN_PASSWORD)
    found, total = await page(auth, ADMIN.id, of_all=True)
    assert (len(found), total) == (4, 4)
    assert found[0]["_user"]["username"] == "boss"
    assert [s["loginAt"]["$date"] for s in found] == sorted((s["loginAt"]["$date"] for s in found), reverse=True)
    assert (await page(auth, ADMIN.id, of_all=True, filter="ADAMS"))[1] == 3
    assert (await page(auth, ADMIN.id, of_all=True, filter=found[1]["sessionId"]))[1] == 1
    second, total = await page(auth, ADMIN.id, of_all=True, offset=1, count=2, ascending=True)
    assert (len(second), total, second[0]["userId"]) == (2, 4, alice)
    await auth.end_session(EndSessionRequest(actor=ADMIN, session_id=found[1]["sessionId"], of_all=True))
    await auth.logout(LogoutRequest(actor=user_actor(alice), hashed_token=replies[0].hashed_token))
    assert (await page(auth, ADMIN.id, of_all=True, filter="alice"))[1] == 1


async def test_what_has_expired_is_none(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    reply = await login(auth, "alice")
    (session,), _ = await page(auth, alice)
    later = reply.expires_at
    assert later > now()
    monkeypatch.setattr(sessions, "now", lambda: later)
    assert await page(auth, alice) == ([], 0)
    assert await page(auth, ADMIN.id, of_all=True) == ([], 0)
    with pytest.raises(NotFound):
        await auth.end_session(EndSessionRequest(actor=user_actor(alice), session_id=session["sessionId"]))


async def test_who_may(auth: Auth, running: RunningServices) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    await login(auth, "alice")
    (session,), _ = await page(auth, alice)
    for call in (
        page(auth, alice, of_all=True),
        auth.get_session(GetSessionRequest(actor=user_actor(alice), session_id=session["sessionId"], of_all=True)),
        auth.end_session(EndSessionRequest(actor=user_actor(alice), session_id=session["sessionId"], of_all=True)),
    ):
        with pytest.raises(NotAllowed):
            await call
    await grant(auth, "view-device-management", "user")
    assert (await page(auth, alice, of_all=True))[1] == 1
    node = running.nodes["auth"]
    node.config = dataclasses.replace(node.config, test_mode=False)
    with pytest.raises(SecondFactorRequired):
        await page(auth, alice, of_all=True)


@pytest.mark.parametrize("fields", [{"sort": "ip"}, {"sort": "device.name", "of_all": True}, {"sort": "$where"}])
async def test_what_nothing_is_sorted_by(auth: Auth, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await page(auth, ADMIN.id, **fields)
    assert raised.value.error_code == "error-invalid-sort-keys"
