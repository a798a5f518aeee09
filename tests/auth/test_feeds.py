"""What gateways ask: whether a login still stands, and what somebody may have missed of a user."""

import pytest

from palaver.api import Auth
from palaver.commit import now
from palaver.database import Put
from palaver.errors import LoginRequired
from palaver.events import user_actor, user_stream
from palaver.v1.auth_pb2 import CheckLoginRequest, GetUserHeadsRequest, ListUserEventsRequest, LogoutRequest
from palaver.v1.event_pb2 import Event, TokensRevoked
from tests.auth.helpers import authenticate, create_user, login, set_active
from tests.services import RunningServices


async def check(auth: Auth, user_id: str, hashed_token: str) -> int:
    return (await auth.check_login(CheckLoginRequest(user_id=user_id, hashed_token=hashed_token))).applied_seq


async def head(auth: Auth, user_id: str) -> int:
    return (await auth.get_user_heads(GetUserHeadsRequest(user_ids=[user_id]))).heads[0]


async def test_a_login_stands_until_it_is_revoked(auth: Auth) -> None:
    ann, bob = await create_user(auth, "ann"), await create_user(auth, "bob")
    first, second = await login(auth, "ann"), await login(auth, "ann")
    seq = await check(auth, ann["_id"], first.hashed_token)
    assert seq == await head(auth, ann["_id"])
    for user_id, hashed in ((bob["_id"], first.hashed_token), (ann["_id"], "unknown"), (ann["_id"], ""), ("", "")):
        with pytest.raises(LoginRequired):
            await check(auth, user_id, hashed)
    await auth.logout(LogoutRequest(actor=user_actor(ann["_id"]), hashed_token=first.hashed_token))
    with pytest.raises(LoginRequired):
        await check(auth, ann["_id"], first.hashed_token)
    assert await check(auth, ann["_id"], second.hashed_token) > seq


async def test_nobody_who_is_deactivated_or_whose_login_has_expired_is_let_on(
    auth: Auth, running: RunningServices
) -> None:
    ann = await create_user(auth, "ann")
    reply = await login(auth, "ann")
    database, stream = running.node.database, user_stream(ann["_id"])
    past = Put("tokens", reply.hashed_token, set={"expires_at": {"$date": now() - 1}})
    event = Event(stream_kind="user", stream_id=ann["_id"], seq=await head(auth, ann["_id"]) + 1, command_id="c", at=1)
    event.user_changed.set = b"{}"
    await database.commit(stream, [event], [[past]])
    with pytest.raises(LoginRequired, match="expired"):
        await check(auth, ann["_id"], reply.hashed_token)
    bob = await create_user(auth, "bob")
    reply = await login(auth, "bob")
    await set_active(auth, bob["_id"], False)
    with pytest.raises(LoginRequired):
        await check(auth, bob["_id"], reply.hashed_token)


async def test_what_is_remembered_of_a_login_does_not_count(auth: Auth, running: RunningServices) -> None:
    ann = await create_user(auth, "ann")
    reply = await login(auth, "ann")
    await authenticate(auth, reply.token)
    seq = await head(auth, ann["_id"]) + 1
    event = Event(stream_kind="user", stream_id=ann["_id"], seq=seq, command_id="elsewhere", at=now())
    event.tokens_revoked.CopyFrom(TokensRevoked(hashed_tokens=[reply.hashed_token]))
    revoked = Put("tokens", reply.hashed_token, set={"revoked_at": {"$date": now()}})
    await running.node.database.commit(user_stream(ann["_id"]), [event], [[revoked]])  # by another process, untold
    await authenticate(auth, reply.token)
    with pytest.raises(LoginRequired):
        await check(auth, ann["_id"], reply.hashed_token)


async def test_the_events_that_somebody_has_missed(auth: Auth) -> None:
    ann, bob = await create_user(auth, "ann"), await create_user(auth, "bob")
    seen = await head(auth, ann["_id"])
    reply = await login(auth, "ann")
    await auth.logout(LogoutRequest(actor=user_actor(ann["_id"]), hashed_token=reply.hashed_token))
    missed = await auth.list_user_events(ListUserEventsRequest(user_id=ann["_id"], after=seen))
    assert [event.WhichOneof("fact") for event in missed.events] == ["token_issued", "tokens_revoked"]
    assert [event.seq for event in missed.events] == [seen + 1, seen + 2]
    asked = ["unknown", bob["_id"], ann["_id"]]
    heads = (await auth.get_user_heads(GetUserHeadsRequest(user_ids=asked))).heads
    assert heads == [0, await head(auth, bob["_id"]), seen + 2]
    for user_id, after in (("unknown", 0), (ann["_id"], seen + 2)):
        assert not (await auth.list_user_events(ListUserEventsRequest(user_id=user_id, after=after))).events


async def test_what_is_fetched_has_no_hashes(auth: Auth, running: RunningServices) -> None:
    ann = await create_user(auth, "ann")
    reply = await login(auth, "ann")
    stored = await running.node.database.list_events(user_stream(ann["_id"]), 0)
    assert any(b"argon2" in event.SerializeToString() for event in stored)
    assert reply.hashed_token in [event.token_issued.hashed_token for event in stored]
    fetched = (await auth.list_user_events(ListUserEventsRequest(user_id=ann["_id"], after=0))).events
    assert [event.seq for event in fetched] == [event.seq for event in stored]
    assert not any(b"argon2" in event.SerializeToString() for event in fetched)
    assert reply.hashed_token not in [event.token_issued.hashed_token for event in fetched]
