"""Password hashes: argon2id over the SHA-256 of the password, so that a client may send either.

One hash at a time in the process, in a thread of its own: each costs 19 MiB and, on a small computer, a good part of a
second; a crowd that logs in waits in line instead of exhausting the memory. Called by logins and users only.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from prometheus_client import Gauge, Histogram

from palaver.access import Access
from palaver.auth import rules
from palaver.database import Document
from palaver.errors import Unavailable
from palaver.ids import new_token

HASH_SECONDS = Histogram(
    "palaver_password_hash_seconds",
    "Time to make or verify one password hash, waiting in line included",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

WAITING = Gauge("palaver_password_hashes_waiting", "Passwords that are being hashed or verified, or wait for it")

ROUNDS = 2
MEMORY_KIB = 19 * 1024

_MAX_WAITING = 300
_POLICY = "Accounts_Password_Policy_"
T = TypeVar("T")


class Passwords:
    """Makes and verifies hashes. What goes in is the hexadecimal SHA-256 of a password (`rules.digest_of`)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._waiting = 0
        # Somebody who doesn't exist is refused in the time that a wrong password takes.
        self._nobody = self._hasher.hash(new_token())

    async def make(self, digest: str) -> Document:
        """What is stored as `services.password`."""
        return {"argon2": await self._run(self._hasher.hash, digest)}

    async def verify(self, user: Document | None, digest: str) -> bool:
        """Whether this is the user's password. Costs the same for nobody and for a user without a password."""
        stored = stored_hash(user) if user is not None else None
        right = await self._run(self._verify, stored or self._nobody, digest)
        return right and bool(stored)

    async def verify_given(self, user: Document, given: str) -> bool:
        """The same for what a client sends: the password, or its SHA-256 in hexadecimal."""
        if not 0 < len(given) <= rules.MAX_PASSWORD:
            return False
        digest = rules.normal_digest(given)
        if digest is not None and await self.verify(user, digest):
            return True
        return await self.verify(user, rules.digest_of(given))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str, digest: str) -> bool:
        try:
            return self._hasher.verify(stored, digest)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("Too many people are logging in; try again")
        self._waiting += 1
        WAITING.set(self._waiting)
        started = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1
            WAITING.set(self._waiting)
            HASH_SECONDS.observe(time.perf_counter() - started)


def check_password(access: Access, password: str) -> None:
    """Raises InvalidInput unless the settings let this password be one."""
    settings = access.policy.settings
    policy = {id[len(_POLICY) :]: settings[id]["value"] for id in settings if id.startswith(_POLICY)}
    rules.check_password(password, policy)


def stored_hash(user: Document) -> str | None:
    """The hash of the user's password, or None if they have none that this server knows to verify."""
    stored = user.get("services", {}).get("password", {}).get("argon2")
    return stored if isinstance(stored, str) and stored else None
