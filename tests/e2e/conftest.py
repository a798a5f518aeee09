"""A server of its own process, for a whole file of tests."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.process import PalaverProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """Ready to be called; stopped after the file's last test, when its log must hold no error."""
    started = PalaverProcess(tmp_path_factory.mktemp("server"))
    asyncio.run(started.start())
    yield started
    assert started.stop() == 0
    # The first line is the warning of the test mode.
    assert started.problems()[1:] == []
