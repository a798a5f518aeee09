"""The lease of the operator that works: it is given back, so that the next one need not wait for its end."""

import pytest

from palaver_operator.kinds import KINDS
from palaver_operator.leader import Leader
from tests.palaver_operator.api_server import running_api_server

LEASE = f"{KINDS['Lease'].path('talk')}/palaver-operator"


@pytest.mark.parametrize(("holder", "left"), [("one", ""), ("another", "another")])
async def test_a_lease_is_given_back_though_it_was_written_meanwhile(holder: str, left: str) -> None:
    """By a renewal whose answer nobody has waited for. What somebody else has taken is theirs."""
    async with running_api_server() as (server, kube):
        leader = Leader(kube, "talk", "palaver-operator", "one")
        await leader.acquire()
        found = server.objects[LEASE]
        server.put(LEASE, found | {"spec": found["spec"] | {"holderIdentity": holder}})
        await leader.release()
        assert server.objects[LEASE]["spec"]["holderIdentity"] == left


async def test_a_lease_is_given_back() -> None:
    async with running_api_server() as (server, kube):
        leader = Leader(kube, "talk", "palaver-operator", "one")
        await leader.acquire()
        await leader.release()
        assert server.objects[LEASE]["spec"]["holderIdentity"] == ""
        await Leader(kube, "talk", "palaver-operator", "another").acquire()
        assert server.objects[LEASE]["spec"]["holderIdentity"] == "another"
