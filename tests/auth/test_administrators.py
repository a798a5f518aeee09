"""There is always an administrator, whatever two processes do at the same time and wherever one dies."""

import asyncio

import pytest

from palaver.api import Auth
from palaver.auth.accounts import LEAVING, Accounts, Change
from palaver.auth.store import Store
from palaver.database import Document
from palaver.errors import InvalidInput, PalaverError, Unavailable
from palaver.events import SYSTEM
from tests.auth.helpers import create_user, set_active
from tests.services import ADMIN_ID, RunningServices

REFUSAL = InvalidInput("the last one")


async def _demote(user: Document) -> Change:
    return Change({"roles": [role for role in user["roles"] if role != "admin"]})


class Process:
    """One process's accounts; all of them write the same streams."""

    def __init__(self, running: RunningServices) -> None:
        self.store = Store(running.node.database)
        self.accounts = Accounts(running.node, self.store)

    async def demote(self, user_id: str) -> None:
        async with self.accounts.keeping_an_admin(user_id, REFUSAL):
            await self.accounts.change(user_id, SYSTEM, _demote)


@pytest.fixture
async def two(running: RunningServices, auth: Auth) -> tuple[Process, Process, str]:
    """Two processes, and another administrator."""
    other = await create_user(auth, "second", roles=["admin"])
    return Process(running), Process(running), other["_id"]


async def test_of_two_who_take_each_other_away_one_stays(two: tuple[Process, Process, str]) -> None:
    one, another, second = two
    async with one.accounts.keeping_an_admin(ADMIN_ID, REFUSAL):
        await another.demote(second)
        with pytest.raises(Unavailable):
            await one.accounts.change(ADMIN_ID, SYSTEM, _demote)
    assert await one.store.list_admins() == [ADMIN_ID]
    with pytest.raises(InvalidInput):
        await one.demote(ADMIN_ID)
    assert LEAVING not in (await one.store.find_user(ADMIN_ID) or {})


async def test_who_does_not_leave_after_all_counts_for_the_next(two: tuple[Process, Process, str]) -> None:
    one, another, second = two
    async with one.accounts.keeping_an_admin(ADMIN_ID, REFUSAL):
        pass
    assert LEAVING not in (await one.store.find_user(ADMIN_ID) or {})
    await another.demote(second)
    assert await one.store.list_admins() == [ADMIN_ID]


async def test_a_mark_of_a_dead_process_keeps_nobody(two: tuple[Process, Process, str]) -> None:
    one, another, second = two
    assert await one.accounts._mark(ADMIN_ID)
    await another.demote(second)
    assert await one.store.list_admins() == [ADMIN_ID]


async def test_nobody_is_taken_from_the_administrators_without_asking(two: tuple[Process, Process, str]) -> None:
    one, _, second = two
    with pytest.raises(Unavailable):
        await one.accounts.change(second, SYSTEM, _demote)
    assert len(await one.store.list_admins()) == 2


async def test_who_has_just_become_an_administrator_is_not_overlooked(
    two: tuple[Process, Process, str], auth: Auth
) -> None:
    one, another, _ = two
    third = (await create_user(auth, "third"))["_id"]

    async def promote(user: Document) -> Change:
        return Change({"roles": ["user", "admin"]})

    async with one.accounts.keeping_an_admin(third, REFUSAL):
        await another.accounts.change(third, SYSTEM, promote)
        with pytest.raises(Unavailable):
            await one.accounts.change(third, SYSTEM, _demote)
    assert third in await one.store.list_admins()


async def test_many_at_once(two: tuple[Process, Process, str], auth: Auth) -> None:
    one, another, second = two
    third = (await create_user(auth, "third", roles=["admin"]))["_id"]
    for _ in range(5):
        outcomes = await asyncio.gather(
            one.demote(ADMIN_ID),
            another.demote(second),
            one.demote(third),
            another.demote(ADMIN_ID),
            return_exceptions=True,
        )
        assert all(outcome is None or isinstance(outcome, PalaverError) for outcome in outcomes)
        assert len(await one.store.list_admins()) >= 1


async def test_nobody_sees_the_mark(two: tuple[Process, Process, str], auth: Auth) -> None:
    one, _, second = two
    assert await one.accounts._mark(second)
    assert LEAVING not in await set_active(auth, second, True)
