"""The hashes themselves, with the parameters that are used."""

import pytest

from palaver.auth import passwords
from palaver.auth.rules import digest_of


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
