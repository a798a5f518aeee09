"""Use cases: the keys with which users encrypt from end to end. The server keeps them and reads nothing with them.

A user's private key comes encrypted by a password that the server never sees. It leaves only to its user, neither by
the log nor in any document (`services`). Called by role.py.
"""

from palaver.auth.accounts import Accounts, Change
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput, NotAllowed, UserNotFound
from palaver.events import user_actor
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    Empty,
    KeysReply,
    KeysRequest,
    ListKeysReply,
    ListKeysRequest,
    ResetKeysRequest,
    SetKeysRequest,
)

_MAX_PUBLIC, _MAX_PRIVATE = 5_000, 30_000


class Keys:
    """Keeps each user's pair of keys."""

    def __init__(self, node: Node, store: Store, accounts: Accounts, tokens: Tokens) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._tokens = tokens

    async def set(self, request: SetKeysRequest) -> Empty:
        """The actor's own keys; with `force` in place of those before. Raises NotAllowed, InvalidInput, Conflict."""
        actor = await self._node.access.get_actor(request.actor)
        self._node.access.check_encryption()
        if not 0 < len(request.public_key) <= _MAX_PUBLIC or not 0 < len(request.private_key) <= _MAX_PRIVATE:
            raise InvalidInput("A key is missing or too long", code="error-invalid-key")
        keys = {"public_key": request.public_key, "private_key": request.private_key}

        async def decide(user: Document) -> Change:
            if _keys_of(user) and not request.force:
                raise Conflict("Keys are set already", code="error-keys-already-set")
            return Change({"services": {**user.get("services", {}), "e2e": keys}})

        await self._accounts.change(actor.id, user_actor(actor.id), decide)
        return Empty()

    async def get(self, request: KeysRequest) -> KeysReply:
        """The actor's own keys; empty where they have none."""
        actor = await self._node.access.get_actor(request.actor)
        keys = _keys_of(await self._store.find_user(actor.id))
        return KeysReply(public_key=keys.get("public_key", ""), private_key=keys.get("private_key", ""))

    async def list_public(self, request: ListKeysRequest) -> ListKeysReply:
        """For another service: the public keys of those of these users who have one."""
        reply = ListKeysReply()
        for user in await self._store.list_users(request.user_ids, ()):
            if public_key := _keys_of(user).get("public_key"):
                reply.keys.add(user_id=user["_id"], public_key=public_key)
        return reply

    async def reset(self, request: ResetKeysRequest) -> Empty:
        """Takes a user's keys away and ends their logins: one's own, or with edit-other-user-e2ee somebody else's."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if request.user_id != actor.id and not access.may(actor, "edit-other-user-e2ee"):
            raise NotAllowed()
        if await self._store.find_user(request.user_id) is None:
            raise UserNotFound()

        async def decide(user: Document) -> Change:
            services = {name: value for name, value in user.get("services", {}).items() if name != "e2e"}
            return Change({"services": services})

        await self._accounts.change(request.user_id, user_actor(actor.id), decide, tell=False)
        await self._tokens.revoke(request.user_id, user_actor(actor.id))
        return Empty()


def _keys_of(user: Document | None) -> dict[str, str]:
    keys = {} if user is None else user.get("services", {}).get("e2e")
    return keys if isinstance(keys, dict) else {}
