"""Use cases: keeping users out, letting them in again, and ending accounts. Called by role.py.

What goes with a user besides the account itself (rooms that nobody else owns, memberships, messages) is messaging's: it
follows the event.
"""

import orjson

from palaver.account_names import fold
from palaver.auth.accounts import Accounts, Change
from palaver.auth.bootstrap import BOT_ID
from palaver.auth.passwords import stored_hash
from palaver.auth.second_factor import SecondFactor
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens
from palaver.commit import now
from palaver.database import Document
from palaver.documents import public_user
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import user_actor
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    DeactivateIdleReply,
    DeactivateIdleRequest,
    DeleteUserRequest,
    Empty,
    SetUserActiveRequest,
    UserReply,
)

_IDLE_AT_ONCE = 100
_DAY_MILLISECONDS = 86_400_000
_MAX_DAYS = 36_500


class Departures:
    """Changes who may be here."""

    def __init__(
        self, node: Node, store: Store, accounts: Accounts, tokens: Tokens, second_factor: SecondFactor
    ) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._tokens = tokens
        self._second_factor = second_factor

    async def set_active(self, request: SetUserActiveRequest) -> UserReply:
        """Lets a user in, or keeps them out: a deactivated user's tokens stop working at once."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not access.may(actor, "edit-other-user-active-status") and not access.may(
            actor, "manage-moderation-actions"
        ):
            raise NotAllowed(code="unauthorized")
        by = user_actor(actor.id)
        if not request.active:
            user = await self._deactivate(request.user_id, actor.id, relinquish=request.relinquish)
            return UserReply(user=orjson.dumps(public_user(user)))

        async def decide(_: Document) -> Change:
            return Change({"active": True}, ("reason",))

        # A crash between the two events of a deactivation may have left some.
        before = await self._store.find_user(request.user_id)
        if before is None:
            raise UserNotFound()
        if not before.get("active"):
            await self._tokens.revoke(request.user_id, by)
        user = await self._accounts.change(request.user_id, by, decide)
        return UserReply(user=orjson.dumps(public_user(user)))

    async def _deactivate(self, user_id: str, actor_id: str, *, relinquish: bool) -> Document:
        """Raises UserNotFound, NotAllowed for the last administrator."""
        by = user_actor(actor_id)

        async def decide(_: Document) -> Change:
            return Change({"active": False}, relinquishes=relinquish)

        async with self._accounts.keeping_an_admin(user_id, _last_admin()):
            user = await self._accounts.change(user_id, by, decide, tell=False)
        await self._tokens.revoke(user_id, by)
        return user

    async def deactivate_idle(self, request: DeactivateIdleRequest) -> DeactivateIdleReply:
        """Keeps out some of those who have not logged in for so many days. Who never did is not among them."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        access.check(actor, "edit-other-user-active-status")
        if not 1 <= request.days <= _MAX_DAYS:
            raise InvalidInput("must be a number of days", code="error-invalid-days")
        before = now() - request.days * _DAY_MILLISECONDS
        idle = await self._store.list_idle(request.role or "user", before, _IDLE_AT_ONCE)
        count = 0
        for user in idle:
            if user["_id"] == actor.id:
                continue
            try:
                await self._deactivate(user["_id"], actor.id, relinquish=False)
            except (NotAllowed, UserNotFound):
                continue  # the last administrator, and who was deleted meanwhile
            count += 1
        return DeactivateIdleReply(count=count, more=count > 0 and len(idle) == _IDLE_AT_ONCE)

    async def delete(self, request: DeleteUserRequest) -> Empty:
        """Ends an account: one's own with its password, or somebody else's. Raises UserNotFound, NotAllowed."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        user_id = actor.id if request.own else request.user_id
        if request.own:
            if not access.setting("Accounts_AllowDeleteOwnAccount"):
                raise NotAllowed()
        elif not access.may(actor, "delete-user"):
            raise NotAllowed()
        user = await self._store.find_user(user_id)
        if user is None:
            raise UserNotFound()
        if request.own:
            await self._check_own(user, request.password)
        if user.get("type") == "app":
            raise NotAllowed("Apps are removed with what they are of", code="error-cannot-delete-app-user")
        if user_id == BOT_ID:
            raise NotAllowed("The workspace's own bot stays")
        async with self._accounts.keeping_an_admin(user_id, _last_admin()):
            await self._accounts.delete(user_id, user_actor(actor.id), access.setting("Message_ErasureType"))
        return Empty()

    async def _check_own(self, user: Document, given: str) -> None:
        """Whoever ends their own account shows that it is theirs: by the password, or the username without one."""
        if stored_hash(user) is None:
            if fold(given) != user.get("username_lower", ""):
                raise NotAllowed("Invalid username", code="error-invalid-username")
        elif not await self._second_factor.check_password(user, given):
            raise NotAllowed("Invalid password", code="error-invalid-password")


def _last_admin() -> NotAllowed:
    return NotAllowed(
        "Leaving the app without an active admin is not allowed",
        code="error-action-not-allowed",
        details={"action": "Remove_last_admin"},
    )
