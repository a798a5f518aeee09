"""Work that several wait for is done once, and a failure is nobody else's."""

import asyncio

import pytest

from palaver.gateway.once import Once


async def test_many_wait_for_one() -> None:
    once, ran = Once(), []

    async def work() -> None:
        ran.append(1)
        await asyncio.sleep(0.01)

    await asyncio.gather(*(once.run(work) for _ in range(10)))
    await once.run(work)
    assert ran == [1]
    assert once.is_done


async def test_after_a_failure_the_next_one_tries() -> None:
    once, tries = Once(), 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        if tries == 1:
            raise ZeroDivisionError

    results = await asyncio.gather(*(once.run(work) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError, type(None), type(None)]
    assert tries == 2


async def test_the_first_may_go_away() -> None:
    once = Once()
    first = asyncio.create_task(once.run(lambda: asyncio.sleep(10)))
    await asyncio.sleep(0)
    second = asyncio.create_task(once.run(lambda: asyncio.sleep(0)))
    await asyncio.sleep(0)
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
