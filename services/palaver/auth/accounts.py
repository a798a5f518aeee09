"""The writes of users' documents: creating one, changing one, and telling every node that it changed.

Called by the use cases of this service; nobody else writes a user.
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from palaver.access import USERS_CHANGED
from palaver.account_names import fold
from palaver.auth.names import FIRST_ADMIN, Names, email_key, holds, list_keys, username_key
from palaver.auth.store import Store
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput, PalaverError, Unavailable, UserNotFound
from palaver.events import SYSTEM, user_stream
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.event_pb2 import Actor, Event, UserChanged, UserCreated, UserDeleted

T = TypeVar("T")
logger = logging.getLogger(__name__)

LEAVING = "leaving_admins"
"""A field of a user who is about to be no administrator any more: which command says so."""


@dataclass(slots=True)
class Change:
    """What a command does to a user's document: top-level fields."""

    set: Document = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    relinquishes: bool = False  # with a deactivation: the rooms that nobody else owns


DecideChange = Callable[[Document], Awaitable[Change]]
"""From the user as they stand to the change. Raises a PalaverError to refuse."""


Claims = Mapping[str, Callable[[], Conflict]]
"""The names that a command needs, and what to raise when one is another user's."""


class UserExists(Conflict):
    code = "error-user-already-exists"
    reason = "There is a user with this id already"


class AdminExists(Conflict):
    code = "error-admin-already-exists"
    reason = "There is an administrator already"


def name_taken(username: str) -> Conflict:
    return Conflict(f"{username} is already in use :(", code="error-field-unavailable", details={"field": "username"})


def email_taken(email: str) -> Conflict:
    return Conflict(f"{email} is already in use :(", code="error-field-unavailable", details={"field": "email"})


def new_user(user_id: str, username: str, **fields: Any) -> Document:
    """A user's document as everybody begins; `fields` that are empty are left out."""
    at = {"$date": now()}
    user: Document = {
        "_id": user_id,
        "username": username,
        "username_lower": fold(username),
        "emails_lower": [],
        "type": "user",
        "active": True,
        "roles": ["user"],
        "status": "offline",
        "statusDefault": "online",
        "utcOffset": 0,
        "createdAt": at,
        "_updatedAt": at,
    }
    user.update({name: value for name, value in fields.items() if value is not None and value != ""})
    return user


def email_fields(address: str, verified: bool) -> Document:
    return {"emails": [{"address": address, "verified": verified}], "emails_lower": [fold(address)]}


def _claims(username: str, *emails: str) -> dict[str, Callable[[], Conflict]]:
    claims: dict[str, Callable[[], Conflict]] = {}
    if username:
        claims[username_key(username)] = functools.partial(name_taken, username)
    for email in filter(None, emails):
        claims[email_key(email)] = functools.partial(email_taken, email)
    return claims


class Accounts:
    """Creates and changes users."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store
        self._names = Names(node)
        self._admins = asyncio.Lock()
        self._has_admin = False
        self._marks: dict[str, str] = {}  # of administrators who are about to be none
        self._caches: list[Callable[[str], None]] = [lambda user_id: node.access.forget_user(user_id)]

    def on_changed(self, forget: Callable[[str], None]) -> None:
        """Has `forget` called with each user's id as soon as a change of them stands, told to others or not."""
        self._caches.append(forget)

    async def create(self, user: Document, actor: Actor, *, first_admin: bool = False) -> Document:
        """Appends the user's creation. Raises Conflict when the id, the username or an address is taken.

        With `first_admin`, raises AdminExists when somebody else is the first administrator.
        """
        user_id = user["_id"]
        claims = _claims(user["username"], *(email["address"] for email in user.get("emails", ())))
        if first_admin:
            claims[FIRST_ADMIN] = AdminExists

        async def decide(draft: Draft) -> Document:
            if draft.head or await draft.get_own() is not None:
                raise UserExists()
            for key, taken in claims.items():
                await self._names.check(key, user_id, taken)
            event = Event(user_created=UserCreated(user=orjson.dumps(user)))
            draft.append(event, actor=actor, at=user["createdAt"]["$date"])
            return user

        created = await self._claiming(user_id, claims, decide)
        await self.tell(user_id)
        return created

    async def change(self, user_id: str, actor: Actor, decide: DecideChange, *, tell: bool = True) -> Document:
        """Decides a change on the user as they stand, and returns them changed. Raises UserNotFound.

        Tells of the user even when nothing changes: whoever asks again may do so because telling failed. Without
        `tell`, the caller does it.
        """
        return await self._change(user_id, actor, decide, {}, tell=tell)

    async def rename(
        self,
        user_id: str,
        actor: Actor,
        decide: DecideChange,
        *,
        username: str = "",
        email: str = "",
        tell: bool = True,
    ) -> Document:
        """The same for a change that brings a new username or address: claims it before, frees the old one after."""
        before = await self._store.find_user(user_id)
        if before is None:
            raise UserNotFound()
        after = await self._change(user_id, actor, decide, _claims(username, email), tell=False)
        old = [username_key(before["username"])] if before.get("username") else []
        old += [f"email:{address}" for address in before.get("emails_lower", ())]
        for key in old:
            if not holds(after, key):
                await self._names.release(key, user_id)
        if tell:
            await self.tell(user_id)
        return after

    async def delete(self, user_id: str, actor: Actor, erasure: str) -> None:
        """Ends the account and its logins in one event; whoever follows does what `erasure` says. Raises UserNotFound.

        An administrator goes only within `keeping_an_admin`.
        """
        before = await self._store.find_user(user_id)
        if before is None:
            raise UserNotFound()

        async def decide(draft: Draft) -> None:
            user = await draft.get_own()
            if user is None or "deleted_at" in user:
                raise UserNotFound()
            if _is_admin(user):
                self._check_leaving(user)
            tokens = await self._store.list_tokens(user_id)
            fact = UserDeleted(erasure=erasure, hashed_tokens=[token["_id"] for token in tokens])
            draft.append(Event(user_deleted=fact), actor=actor)

        try:
            await self._node.commits.execute(user_stream(user_id), decide)
        finally:
            self.forget(user_id)  # an unknown outcome, too
        for key in list_keys(before):
            if key != FIRST_ADMIN:
                await self._names.release(key, user_id)
        await self.tell(user_id)

    def _check_leaving(self, user: Document) -> None:
        """Raises Unavailable for an administrator who is not about to leave by the command at hand."""
        if user.get(LEAVING) is None or user[LEAVING] != self._marks.get(user["_id"]):
            raise Unavailable("Another change of the administrators is under way; try again")

    async def _change(
        self, user_id: str, actor: Actor, decide: DecideChange, claims: Claims, *, tell: bool
    ) -> Document:
        async def decide_event(draft: Draft) -> Document:
            user = await draft.get_own()
            if user is None or "deleted_at" in user:
                raise UserNotFound()
            for key, taken in claims.items():
                await self._names.check(key, user_id, taken)
            change = await decide(user)
            changed = {name: value for name, value in change.set.items() if user.get(name, _ABSENT) != value}
            unset = tuple(name for name in change.unset if name in user)
            if not changed and not unset:
                return user
            if _is_admin(user) and not _is_admin({**user, **changed}):
                self._check_leaving(user)
                unset = (*unset, LEAVING)
            fact = UserChanged(set=orjson.dumps(changed), unset=unset, relinquishes=change.relinquishes)
            event = Event(user_changed=fact)
            at = draft.append(event, actor=actor).at
            kept = {name: value for name, value in user.items() if name not in unset}
            return {**kept, **changed, "_updatedAt": {"$date": at}}

        try:
            user = await self._claiming(user_id, claims, decide_event)
        finally:
            self.forget(user_id)  # an unknown outcome, too
        if tell:
            await self.tell(user_id)
        return user

    async def _claiming(
        self,
        user_id: str,
        claims: Claims,
        decide: Callable[[Draft], Awaitable[T]],
    ) -> T:
        """Claims, executes, and frees the claims if the command was refused. An unknown outcome keeps them."""
        taken: list[str] = []
        try:
            for key, error in claims.items():
                await self._names.take(key, user_id, error)
                taken.append(key)
            return await self._node.commits.execute(user_stream(user_id), decide)
        except PalaverError as error:
            if taken and not isinstance(error, Unavailable):
                user = await self._node.database.get("users", user_id)
                for key in taken:
                    if not holds(user, key):
                        await self._names.release(key, user_id)
            raise

    def forget(self, user_id: str) -> None:
        """Makes this process forget what it remembers of the user."""
        for forget in self._caches:
            forget(user_id)

    async def tell(self, user_id: str) -> None:
        """Makes every node forget what it remembers of the user.

        Those that can't be told now remember nothing for longer than three seconds, and hear of the event that was
        committed by asking for it, or from the sweeper.
        """
        self.forget(user_id)
        self._node.causality.note_user(user_id)
        try:
            await self._node.live.publish(USERS_CHANGED, user_id.encode())
        except Unavailable as error:
            logger.warning("the change of user %s could not be told: %s", user_id, error)

    # -- administrators ----------------------------------------------------------------------------------------------

    async def has_admin(self) -> bool:
        """Whether there is an administrator; once there is one, there always is."""
        if not self._has_admin:
            self._has_admin = await self._store.count_admins() > 0
        return self._has_admin

    @asynccontextmanager
    async def keeping_an_admin(self, user_id: str, refusal: PalaverError) -> AsyncIterator[None]:
        """For a command that takes this user from the administrators, if they are one. Raises `refusal` for the last.

        Two might take each other away. So who is to leave is first marked as leaving; then another administrator must
        be found who is not, or whose mark is taken from them; and nobody leaves whose mark is gone. Each of these steps
        is decided on one user's stream: of two who pass each other, one finds their own mark gone.
        """
        async with self._admins:  # within one process they wait for each other
            mark = await self._mark(user_id)
            if not mark:
                yield
                return
            self._marks[user_id] = mark
            try:
                if not await self._has_another_admin(user_id):
                    raise refusal
                yield
            finally:
                del self._marks[user_id]
                # Whoever leaves next takes away what stays; who was deleted has none.
                with suppress(Unavailable, UserNotFound):
                    await self._unmark(user_id, mark)

    async def _mark(self, user_id: str) -> str:
        """Marks the user as leaving; returns the mark, or nothing for who is no administrator."""
        mark = new_id()

        async def decide(user: Document) -> Change:
            return Change({LEAVING: mark}) if _is_admin(user) else Change()

        marked = await self._change(user_id, SYSTEM, decide, {}, tell=False)
        return mark if marked.get(LEAVING) == mark else ""

    async def _unmark(self, user_id: str, mark: str = "") -> Document:
        """Takes this mark away, or whichever there is."""

        async def decide(user: Document) -> Change:
            return Change(unset=(LEAVING,)) if mark in ("", user.get(LEAVING)) else Change()

        return await self._change(user_id, SYSTEM, decide, {}, tell=False)

    async def _has_another_admin(self, user_id: str) -> bool:
        for other in await self._store.list_admins():
            with suppress(UserNotFound):
                if other != user_id and _is_admin(await self._unmark(other)):
                    return True
        return False


_ABSENT = object()


def _is_admin(user: Document | None) -> bool:
    return user is not None and "admin" in user.get("roles", ()) and bool(user.get("active"))


def check_known_roles(roles: list[str], known: Mapping[str, Document]) -> None:
    """Raises InvalidInput when one of the roles doesn't exist or is one that only rooms give."""
    for role in roles:
        if role not in known or known[role].get("scope") == "Subscriptions":
            raise InvalidInput(
                "The field Roles consist invalid role name",
                code="error-action-not-allowed",
                details={"action": "Assign_role"},
            )
