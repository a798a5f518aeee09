"""Password hashes: argon2id over the SHA-256 of the password, so that a client may send either.

One hash at a time in the process, in a thread of its own: each costs 19 MiB and, on a small computer, a good part of a
second; a crowd that logs in waits in line instead of exhausting the memory. What has many hashes to make, one after
another, makes them while nobody is in the line. Called by logins and users only.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from prometheus_client import Gauge, Histogram

from palaver.access import Access
from palaver.auth import rules
from palaver.database import Document
from palaver.errors import InvalidInput, Unavailable
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
_HISTORY = "passwordHistory"
_MAX_HISTORY = 50  # each is a hash to make before a new password stands
_POLICY = "Accounts_Password_Policy_"
T = TypeVar("T")


class Passwords:
    """Makes and verifies hashes. What goes in is the hexadecimal SHA-256 of a password (`rules.digest_of`)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._line = asyncio.Lock()
        self._waiting = 0
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        # Somebody who doesn't exist is refused in the time that a wrong password takes.
        self._nobody = self._hasher.hash(new_token())

    async def make(self, digest: str) -> Document:
        """What is stored as `services.password`."""
        async with self._turn():
            return {"argon2": await self._run(self._hasher.hash, digest)}

    async def verify(
        self,
        user: Document | None,
        digest: str,
        *,
        check: Callable[[], None] = lambda: None,
        on_wrong: Callable[[], None] = lambda: None,
    ) -> bool:
        """Whether this is the user's password. Costs the same for nobody and for a user without a password.

        `check` is called when it is this password's turn, and may refuse it by raising; `on_wrong` before the next
        one's turn.
        """
        stored = stored_hash(user) if user is not None else None
        async with self._turn():
            check()
            right = await self._run(self._verify, stored or self._nobody, digest) and bool(stored)
            if not right:
                on_wrong()
            return right

    async def check_unused(self, access: Access, user: Document, digest: str) -> None:
        """Raises InvalidInput for a password that the user has, or had among the last ones that the settings count.

        Whoever logs in meanwhile goes first.
        """
        for stored in filter(None, [stored_hash(user), *_history(user)][: _remembered(access) + 1]):
            if not _remembered(access):
                return
            while not self._nobody_waits.is_set():
                await self._nobody_waits.wait()
            async with self._turn():
                is_used = await self._run(self._verify, stored, digest)
            if is_used:
                raise InvalidInput("The entered password has been used before", code="error-password-in-history")

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

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One after another. Raises Unavailable where the line is too long."""
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("Too many people are logging in; try again")
        self._waiting += 1
        self._nobody_waits.clear()
        WAITING.set(self._waiting)
        started = time.perf_counter()
        try:
            async with self._line:
                yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._nobody_waits.set()
            WAITING.set(self._waiting)
            HASH_SECONDS.observe(time.perf_counter() - started)

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def check_password(access: Access, password: str) -> None:
    """Raises InvalidInput unless the settings let this password be one."""
    settings = access.policy.settings
    policy = {id[len(_POLICY) :]: settings[id]["value"] for id in settings if id.startswith(_POLICY)}
    rules.check_password(password, policy)


def with_password(access: Access, user: Document, password: Document) -> Document:
    """The user's `services` with a new password, and the hashes of as many before it as the settings count."""
    services = {name: value for name, value in user.get("services", {}).items() if name != _HISTORY}
    before = [stored for stored in (stored_hash(user), *_history(user)) if stored][: _remembered(access)]
    return {**services, "password": password, **({_HISTORY: before} if before else {})}


def _history(user: Document) -> list[str]:
    """Hashes of what the user's password was, the last one first."""
    found = user.get("services", {}).get(_HISTORY)
    return found if isinstance(found, list) else []


def _remembered(access: Access) -> int:
    """How many passwords before the present one nobody may have again; 0: the settings let them."""
    if not access.setting("Accounts_Password_History_Enabled"):
        return 0
    return max(0, min(int(access.setting("Accounts_Password_History_Amount")), _MAX_HISTORY))


def stored_hash(user: Document) -> str | None:
    """The hash of the user's password, or None if they have none that this server knows to verify."""
    stored = user.get("services", {}).get("password", {}).get("argon2")
    return stored if isinstance(stored, str) and stored else None
