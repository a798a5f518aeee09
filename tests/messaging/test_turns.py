"""Whose links are looked at next: nobody's slow ones keep others waiting."""

import asyncio

from palaver.messaging.previews.turns import Piece, Turns


def piece(id: str, user_id: str, *hosts: str) -> Piece[str]:
    return Piece(id, user_id, hosts, id)


async def begin(turns: Turns[str]) -> Piece[str] | None:
    """The next one; None when nobody may begin."""
    beginning = asyncio.ensure_future(turns.begin())
    for _ in range(3):
        await asyncio.sleep(0)
    if beginning.done():
        return beginning.result()
    beginning.cancel()
    return None


async def test_users_take_turns() -> None:
    turns: Turns[str] = Turns(of_user=9, of_host=9)
    for number in range(3):
        turns.add(piece(f"ann{number}", "ann"))
    for number in range(2):
        turns.add(piece(f"bob{number}", "bob"))
    begun = [await begin(turns) for _ in range(6)]
    assert [one.id if one else "" for one in begun] == ["ann0", "bob0", "ann1", "bob1", "ann2", ""]


async def test_of_one_user_only_some_are_worked_on() -> None:
    turns: Turns[str] = Turns(of_user=2, of_host=9)
    for number in range(4):
        turns.add(piece(f"ann{number}", "ann"))
    first, second = await begin(turns), await begin(turns)
    assert first is not None
    assert second is not None
    assert await begin(turns) is None
    assert turns.count("ann") == 2
    turns.add(piece("bob0", "bob"))
    third = await begin(turns)
    assert third is not None
    assert third.id == "bob0"
    turns.end(second)
    fourth = await begin(turns)
    assert fourth is not None
    assert fourth.id == "ann2"
    assert turns.count("ann") == 1


async def test_a_slow_host_keeps_what_leads_elsewhere_from_nothing() -> None:
    turns: Turns[str] = Turns(of_user=9, of_host=1)
    turns.add(piece("slow0", "ann", "slow"))
    turns.add(piece("slow1", "bob", "slow", "quick"))
    turns.add(piece("quick0", "bob", "quick"))
    slow = await begin(turns)
    quick = await begin(turns)
    assert slow is not None
    assert quick is not None
    assert (slow.id, quick.id) == ("slow0", "quick0")
    turns.end(slow)
    assert await begin(turns) is None  # it leads to both
    turns.end(quick)
    both = await begin(turns)
    assert both is not None
    assert both.id == "slow1"


async def test_workers_that_wait_are_woken() -> None:
    turns: Turns[str] = Turns(of_user=1, of_host=1)
    waiting = [asyncio.ensure_future(turns.begin()) for _ in range(2)]
    await asyncio.sleep(0)
    turns.add(piece("1", "ann"))
    turns.add(piece("2", "bob"))
    assert sorted(one.id for one in await asyncio.gather(*waiting)) == ["1", "2"]
