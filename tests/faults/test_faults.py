"""A short plan of the fault suite (`make test-faults` has the long one): some rounds on one cluster."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.faults import SHORT_PLAN
from tests.faults.run import Suite, running_suite

pytestmark = [pytest.mark.needs_servers, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    seed = int.from_bytes(os.urandom(2), "big")
    print(f"seed {seed}")
    async with running_suite(tmp_path_factory.mktemp("faults"), seed, print) as running:
        yield running


@pytest.mark.parametrize("round", list(SHORT_PLAN))
async def test_nothing_is_lost_doubled_or_out_of_order(suite: Suite, round: str) -> None:
    assert await suite.run_round(list(SHORT_PLAN).index(round) + 1, SHORT_PLAN[round]) == []
