"""The lease of the operator that works: it is kept, and given back, so that the next one need not wait for its end."""

import asyncio

import pytest

from palaver_operator.kinds import KINDS
from palaver_operator.leader import Leader, LeadershipLost
from tests.palaver_operator.api_server import running_api_server

LEASE = f"{KINDS['Lease'].path('talk')}/palaver-operator"


@pytest.mark.parametrize(("holder", "left"), [("one", ""), ("another", "another")])
async def test_a_lease_is_given_back_though_it_was_written_meanwhile(holder: str, left: str) -> None:
    """By a renewal whose answer nobody has waited for. What somebody else has taken is theirs."""
    async with running_api_server() as (server, kube):
        leader = Leader(kube, "talk", "palaver-operator", "one", 15)
        await leader.acquire()
        found = server.objects[LEASE]
        server.put(LEASE, found | {"spec": found["spec"] | {"holderIdentity": holder}})
        await leader.release()
        assert server.objects[LEASE]["spec"]["holderIdentity"] == left


async def test_a_lease_is_given_back() -> None:
    async with running_api_server() as (server, kube):
        leader = Leader(kube, "talk", "palaver-operator", "one", 15)
        await leader.acquire()
        await leader.release()
        assert server.objects[LEASE]["spec"]["holderIdentity"] == ""
        await Leader(kube, "talk", "palaver-operator", "another", 15).acquire()
        assert server.objects[LEASE]["spec"]["holderIdentity"] == "another"


async def test_a_lease_is_kept_though_the_answer_to_a_renewal_got_lost() -> None:
    async with running_api_server() as (server, kube):
        leader = Leader(kube, "talk", "palaver-operator", "one", 1, lambda: 0.0)
        await leader.acquire()
        server.put(LEASE, server.objects[LEASE])
        version = server.objects[LEASE]["metadata"]["resourceVersion"]
        holding = asyncio.create_task(leader.hold())
        async with asyncio.timeout(60):
            while server.objects[LEASE]["metadata"]["resourceVersion"] == version and not holding.done():
                await asyncio.sleep(0.01)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding


async def test_a_lease_that_somebody_else_has_taken_is_lost() -> None:
    async with running_api_server() as (server, kube):
        leader = Leader(kube, "talk", "palaver-operator", "one", 1, lambda: 0.0)
        await leader.acquire()
        found = server.objects[LEASE]
        server.put(LEASE, found | {"spec": found["spec"] | {"holderIdentity": "another"}})
        with pytest.raises(LeadershipLost, match="somebody else"):
            await asyncio.wait_for(leader.hold(), 60)
        assert server.objects[LEASE]["spec"]["holderIdentity"] == "another"
