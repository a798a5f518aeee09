"""Use cases: personal access tokens, with which programs act for who made them. Called by role.py.

They are tokens like those of logins (`tokens.py`) but for their end: they have none, and outlive a new password. One
may be made to get past the second factor, which programs can't show; so making one needs it.
"""

from typing import Any

import orjson

from palaver.access import User
from palaver.auth.second_factor import SecondFactor
from palaver.auth.store import Store
from palaver.auth.tokens import PERSONAL, Tokens, is_personal
from palaver.commit import Draft
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput, NotAllowed
from palaver.events import user_actor
from palaver.ids import new_token
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    DocumentsReply,
    Empty,
    IssuePersonalTokenRequest,
    ListPersonalTokensRequest,
    RemovePersonalTokenRequest,
    TokenReply,
)
from palaver.v1.event_pb2 import Actor

_MAX_NAME = 100
_MAX_TOKENS = 100
_SHOWN_CHARACTERS = 6


class TokenNameTaken(Conflict):
    code = "error-token-already-exists"
    reason = "A token with this name already exists"


class TokenNotFound(InvalidInput):
    code = "error-token-does-not-exists"
    reason = "Token does not exist"


class PersonalTokens:
    """Makes, lists and removes them."""

    def __init__(self, node: Node, store: Store, tokens: Tokens, second_factor: SecondFactor) -> None:
        self._node = node
        self._store = store
        self._tokens = tokens
        self._second_factor = second_factor

    async def issue(self, request: IssuePersonalTokenRequest) -> TokenReply:
        """A new one, told this once; with `replace` in the place of the one that has this name."""
        user = await self._get_permitted(request.actor)
        await self._second_factor.check_shown(user, request.hashed_token)
        name = request.name.strip()
        if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            raise InvalidInput(f"A token's name has 1 to {_MAX_NAME} characters", code="error-invalid-token-name")
        replaced = await self._list_named(user.id, name)
        if bool(replaced) != request.replace:
            raise TokenNameTaken() if replaced else TokenNotFound()
        if not replaced and len(await self._list_all(user.id)) >= _MAX_TOKENS:
            raise InvalidInput(f"Nobody has more than {_MAX_TOKENS} tokens", code="error-too-many-tokens")
        bypass = bool(replaced[-1]["bypass_second_factor"]) if replaced else request.bypass_second_factor
        token = new_token()
        about: dict[str, Any] = {
            "name": name,
            "last_part": token[-_SHOWN_CHARACTERS:],
            "bypass_second_factor": bypass,
        }

        async def check(draft: Draft, current: Document) -> None:
            found = await draft.find_one("tokens", user_id=user.id, name=name, revoked_at=None)
            if found is not None and not request.replace:
                raise TokenNameTaken()

        by = user_actor(user.id)
        _, hashed, _ = await self._tokens.issue(
            user.id, by, type=PERSONAL, days=0, about=about, check=check, token=token
        )
        if replaced:
            # Two events: where a crash comes between, both work, and whatever is done by this name is done to both.
            await self._tokens.revoke(user.id, by, lambda old: is_named(old, name) and old["_id"] != hashed)
        return TokenReply(user_id=user.id, token=token)

    async def remove(self, request: RemovePersonalTokenRequest) -> Empty:
        """Ends the one with this name."""
        user = await self._get_permitted(request.actor)
        await self._second_factor.check_shown(user, request.hashed_token)
        name = request.name.strip()
        if not await self._tokens.revoke(user.id, user_actor(user.id), lambda token: is_named(token, name)):
            raise TokenNotFound()
        return Empty()

    async def list_own(self, request: ListPersonalTokensRequest) -> DocumentsReply:
        """The actor's, the oldest first, as clients show them."""
        user = await self._get_permitted(request.actor)
        found = [_shown(token) for token in await self._list_all(user.id)]
        return DocumentsReply(documents=[orjson.dumps(token) for token in found], total=len(found))

    async def _get_permitted(self, actor: Actor) -> User:
        access = self._node.access
        user = await access.get_actor(actor)
        if not access.may(user, "create-personal-access-tokens"):
            raise NotAllowed("Not Authorized", code="not-authorized")
        return user

    async def _list_all(self, user_id: str) -> list[Document]:
        found = [token for token in await self._store.list_tokens(user_id) if is_personal(token)]
        return sorted(found, key=lambda token: (token["issued_at"]["$date"], token["_id"]))

    async def _list_named(self, user_id: str, name: str) -> list[Document]:
        return [token for token in await self._list_all(user_id) if is_named(token, name)]


def is_named(token: Document, name: str) -> bool:
    """Whether it is the personal access token of this name."""
    return is_personal(token) and token.get("name") == name


def _shown(token: Document) -> Document:
    return {
        "name": token["name"],
        "createdAt": token["issued_at"],
        "lastTokenPart": token["last_part"],
        "bypassTwoFactor": token["bypass_second_factor"],
    }
