"""Unique names: who holds a username, an e-mail address, the place of the first administrator.

A name is claimed before the event that needs it, so two commands never get the same one. A crash may leave a claim
whose holder never came to be, or never took the name: who finds such a claim waits a moment, takes it over, and makes
sure by an event in the old holder's stream that whatever was still on its way there is decided again and refused.
"""

import asyncio
from collections.abc import Callable

import orjson

from palaver import failpoints
from palaver.account_names import fold
from palaver.commit import Draft
from palaver.database import Document
from palaver.errors import Conflict
from palaver.events import SYSTEM, user_stream
from palaver.node import Node
from palaver.v1.event_pb2 import Event, UserChanged, UserCreated

FIRST_ADMIN = "first-admin"

_POLLS = 20
_POLL_SECONDS = 0.05


def username_key(username: str) -> str:
    return f"username:{fold(username)}"


def email_key(email: str) -> str:
    return f"email:{fold(email)}"


def holds(user: Document | None, key: str) -> bool:
    """Whether the user really has what this claim stands for."""
    if user is None or "deleted_at" in user:
        return False
    if key == FIRST_ADMIN:
        return "admin" in user.get("roles", ())
    kind, _, name = key.partition(":")
    return bool(user.get("username_lower") == name if kind == "username" else name in user.get("emails_lower", ()))


def list_keys(user: Document) -> list[str]:
    """All claims that stand for what this user has."""
    username = user.get("username_lower")
    keys = [FIRST_ADMIN, *([f"username:{username}"] if username else [])]
    keys += [f"email:{address}" for address in user.get("emails_lower", ())]
    return [key for key in keys if holds(user, key)]


class Names:
    """Claims names for users. Called by accounts.py only."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def take(self, key: str, user_id: str, taken: Callable[[], Conflict]) -> None:
        """Makes the name this user's, for the event that is to follow. Raises `taken()` when it is another one's."""
        database = self._node.database
        for _ in range(_POLLS):
            if await database.claim(key, user_id):
                failpoints.reach("claim.after_claim")
                return
            holder = await database.find_claim(key)
            if holder is not None and holds(await database.get("users", holder), key):
                raise taken()
            await asyncio.sleep(_POLL_SECONDS)
        await self._take_over(key, user_id, taken)

    async def check(self, key: str, user_id: str, taken: Callable[[], Conflict]) -> None:
        """Raises `taken()` if the claim has been lost. Asked while the command is decided."""
        if await self._node.database.find_claim(key) != user_id:
            raise taken()

    async def release(self, key: str, user_id: str) -> None:
        await self._node.database.release(key, user_id)

    async def _take_over(self, key: str, user_id: str, taken: Callable[[], Conflict]) -> None:
        database = self._node.database
        holder = await database.find_claim(key)
        if holder is not None:
            await database.release(key, holder)
        if not await database.claim(key, user_id):
            raise taken()
        if holder is not None and holder != user_id and await self._fence(holder, key):
            await database.release(key, user_id)
            await database.claim(key, holder)
            raise taken()

    async def _fence(self, holder: str, key: str) -> bool:
        """Makes whatever is decided for the old holder be decided again. True if they have the name after all."""

        async def decide(draft: Draft) -> bool:
            user = await draft.get_own()
            if holds(user, key):
                return True
            event = Event()
            if user is None and draft.head == 0:
                gone = {"_id": holder, "type": "unknown", "active": False, "roles": [], "deleted_at": {"$date": 0}}
                event.user_created.CopyFrom(UserCreated(user=orjson.dumps(gone)))
            else:
                event.user_changed.CopyFrom(UserChanged(set=b"{}"))
            draft.append(event, actor=SYSTEM)
            return False

        return await self._node.commits.execute(user_stream(holder), decide)
