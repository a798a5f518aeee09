"""What tests of every part may ask for."""

import pytest
from hypothesis import HealthCheck, settings

from palaver.auth import passwords
from tests.services import cluster_servers

# How long an example takes says more about the machine than about the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_sessionfinish() -> None:
    cluster_servers.stop()


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the least memory in this process; test_passwords.py asks for the real parameters."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "ROUNDS", 1)
