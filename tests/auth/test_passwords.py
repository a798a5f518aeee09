"""The hashes themselves, with the parameters that are used, and the line in which they are made."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from palaver.auth import passwords
from palaver.auth.rules import digest_of
from palaver.errors import InvalidInput
from palaver.node import Node
from tests.auth.helpers import set_setting
from tests.services import service_nodes


@pytest.fixture
def real() -> passwords.Passwords:
    return passwords.Passwords()


async def test_a_hash_is_argon2id_of_the_digest(real: passwords.Passwords) -> None:
    stored = await real.make(digest_of("secret"))
    assert stored["argon2"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    user = {"services": {"password": stored}}
    assert await real.verify(user, digest_of("secret"))
    assert not await real.verify(user, digest_of("Secret"))
    assert not await real.verify(user, "secret")
    real.close()


async def test_two_hashes_of_one_password_differ(real: passwords.Passwords) -> None:
    assert await real.make(digest_of("secret")) != await real.make(digest_of("secret"))
    real.close()


@pytest.mark.parametrize(
    "user",
    [
        None,
        {},
        {"services": {}},
        {"services": {"password": {}}},
        {"services": {"password": {"argon2": None}}},
        {"services": {"password": {"argon2": ""}}},
        {"services": {"password": {"argon2": "plain"}}},
        {"services": {"password": {"argon2": {"$ne": ""}}}},
        {"services": {"password": {"bcrypt": "$2b$10$abc"}}},
    ],
)
async def test_who_has_no_password_matches_none(real: passwords.Passwords, user: dict[str, object] | None) -> None:
    for secret in ("nobody", "", "plain", digest_of("nobody")):
        assert not await real.verify(user, secret)
    real.close()


@pytest.fixture
async def node(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Node]:
    async with service_nodes(tmp_path, ("auth",), "process") as running:
        await set_setting(running.services.auth, "Accounts_Password_History_Enabled", True)
        await set_setting(running.services.auth, "Accounts_Password_History_Amount", 5)
        yield running.node


async def test_who_logs_in_does_not_wait_for_a_history_of_passwords(node: Node) -> None:
    used = passwords.Passwords()
    hashes = [(await used.make(digest_of(f"old {number}")))["argon2"] for number in range(6)]
    user = {"services": {"password": {"argon2": hashes[0]}, "passwordHistory": hashes[1:]}}
    ended: list[str] = []

    async def said(what: str, work: Coroutine[Any, Any, object]) -> None:
        await work
        ended.append(what)

    async def log_in(name: str) -> None:
        """Again and again; who is next comes before this one is answered."""
        for _ in range(4):
            await said(name, used.verify(user, digest_of("old 0")))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(log_in("login"))
        tasks.create_task(said("history", used.check_unused(node.access, user, digest_of("new"))))
        tasks.create_task(log_in("login"))
    assert ended == ["login"] * 8 + ["history"]
    with pytest.raises(InvalidInput):
        await used.check_unused(node.access, user, digest_of("old 5"))
    used.close()
