"""Tokens that come again: known without a look into the database, and never after they were revoked."""

import asyncio
import time

import pytest

from palaver.api import Auth
from palaver.auth import tokens
from palaver.errors import LoginRequired
from palaver.events import user_actor
from palaver.v1.auth_pb2 import AuthenticateRequest, LogoutRequest
from tests.auth.helpers import (
    authenticate,
    create_user,
    login,
)
from tests.services import RunningServices


async def test_recognizing_a_known_token_reads_nothing(
    auth: Auth, running: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_user(auth, "alice")
    reply = await login(auth, "alice")
    await authenticate(auth, reply.token)

    async def refuse(*_: object) -> None:
        raise AssertionError("the database was asked")

    with monkeypatch.context() as patched:
        patched.setattr(type(running.node.database), "get", refuse, raising=False)
        service = running.node.roles["auth"]
        started = time.perf_counter()
        for _ in range(2000):
            await service.authenticate(AuthenticateRequest(token=reply.token))  # type: ignore[attr-defined]
        print(f"{(time.perf_counter() - started) / 2000 * 1e6:.1f} microseconds a token")


async def test_a_token_is_trusted_for_a_moment_only(auth: Auth, running: RunningServices) -> None:
    """Even when no word of a revocation came through: it was revoked behind this process's back."""
    user = await create_user(auth, "alice")
    reply = await login(auth, "alice")
    await authenticate(auth, reply.token)
    clock = [time.monotonic()]
    service = running.node.roles["auth"]
    service._tokens._clock = lambda: clock[0]  # type: ignore[attr-defined]
    real = tokens.Tokens.forget_user
    tokens.Tokens.forget_user = lambda self, user_id: None  # type: ignore[method-assign]
    try:
        await auth.logout(LogoutRequest(actor=user_actor(user["_id"]), all=True))
        clock[0] += 3.1
        with pytest.raises(LoginRequired):
            await authenticate(auth, reply.token)
    finally:
        tokens.Tokens.forget_user = real  # type: ignore[method-assign]


async def test_what_was_read_before_a_revocation_is_not_remembered_after_it(
    auth: Auth, running: RunningServices
) -> None:
    user = await create_user(auth, "alice")
    for _ in range(10):
        reply = await login(auth, "alice")
        await asyncio.gather(
            *(authenticate(auth, reply.token) for _ in range(3)),
            auth.logout(LogoutRequest(actor=user_actor(user["_id"]), hashed_token=reply.hashed_token)),
            *(authenticate(auth, reply.token) for _ in range(3)),
            return_exceptions=True,
        )
        with pytest.raises(LoginRequired):
            await authenticate(auth, reply.token)
