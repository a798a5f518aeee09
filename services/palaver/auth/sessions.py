"""Use cases: the logins that stand, each with where it came from: one's own, and for who may, everybody's. Called by
role.py.

A session is a login token that is no personal access token; it is known by its `session_id`, never by the token's hash.
"""

from collections.abc import Callable
from typing import Any

import orjson

from palaver.access import User
from palaver.auth.devices import describe_device
from palaver.auth.second_factor import SecondFactor
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens
from palaver.commit import now
from palaver.database import Document, Filter
from palaver.errors import InvalidInput, NotFound
from palaver.events import user_actor
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    DocumentReply,
    DocumentsReply,
    EndSessionRequest,
    GetSessionRequest,
    ListSessionsRequest,
    SessionReply,
)

_MAX_FILTER = 200
_MAX_MATCHING_USERS = 200
_LOGIN = "loginAt"
# What one's own can be sorted by; everybody's only by what an index has.
_SORT_KEYS: dict[str, Callable[[Document], Any]] = {
    _LOGIN: lambda session: session["loginAt"]["$date"],
    "device.name": lambda session: session["device"]["name"],
    "device.os.name": lambda session: session["device"]["os"]["name"],
}


class SessionNotFound(NotFound):
    """Answered like any unknown thing."""


class Sessions:
    """Lists and ends them."""

    def __init__(self, node: Node, store: Store, tokens: Tokens, second_factor: SecondFactor) -> None:
        self._node = node
        self._store = store
        self._tokens = tokens
        self._second_factor = second_factor

    async def list_some(self, request: ListSessionsRequest) -> DocumentsReply:
        """A page of one's own, or of everybody's. Raises NotAllowed, SecondFactorRequired, InvalidInput."""
        actor = await self._node.access.get_actor(request.actor)
        if request.offset < 0 or request.count < 0:
            raise InvalidInput("offset and count can't be negative")
        key = request.sort or _LOGIN
        if key not in ([_LOGIN] if request.of_all else _SORT_KEYS):
            raise InvalidInput("Invalid sort keys", code="error-invalid-sort-keys")
        if request.of_all:
            await self._check_others(actor, "view-device-management", request.hashed_token)
            found, total = await self._list_all(request)
        else:
            own = [_shown(token) for token in await self._store.list_tokens(actor.id) if _stands(token)]
            wanted = request.filter.strip().lower()[:_MAX_FILTER]
            own = [session for session in own if wanted in orjson.dumps(session).decode().lower()]
            own.sort(key=_SORT_KEYS[key], reverse=not request.ascending)
            end = request.offset + request.count if request.count else None
            found, total = own[request.offset : end], len(own)
        return DocumentsReply(documents=[orjson.dumps(session) for session in found], total=total)

    async def get(self, request: GetSessionRequest) -> DocumentReply:
        """One of one's own, or with `of_all` anybody's. Raises SessionNotFound."""
        actor = await self._node.access.get_actor(request.actor)
        if request.of_all:
            await self._check_others(actor, "view-device-management", request.hashed_token)
        token = await self._get(actor, request.session_id, of_all=request.of_all)
        (session,) = await self._with_users([_shown(token)])
        return DocumentReply(document=orjson.dumps(session))

    async def end(self, request: EndSessionRequest) -> SessionReply:
        """Ends one of one's own, or with `of_all` anybody's. Raises SessionNotFound."""
        actor = await self._node.access.get_actor(request.actor)
        if request.of_all:
            await self._check_others(actor, "logout-device-management", request.hashed_token)
        token = await self._get(actor, request.session_id, of_all=request.of_all)
        await self._tokens.revoke(token["user_id"], user_actor(actor.id), lambda other: other["_id"] == token["_id"])
        return SessionReply(session_id=request.session_id)

    async def _check_others(self, actor: User, permission: str, hashed_token: str) -> None:
        self._node.access.check(actor, permission)
        await self._second_factor.check_shown(actor, hashed_token)

    async def _list_all(self, request: ListSessionsRequest) -> tuple[list[Document], int]:
        where: dict[str, Any] = {
            "revoked_at": None,
            "session_id": {"$exists": True},
            "expires_at": {"$gt": {"$date": now()}},
        }
        if wanted := request.filter.strip()[:_MAX_FILTER]:
            matching: Filter = {
                "deleted_at": None,
                "$or": [{name: {"$contains": wanted}} for name in ("username", "name")],
            }
            users = await self._store.list_matching_users(matching, [("username", 1)], 0, _MAX_MATCHING_USERS)
            where["$or"] = [{"session_id": wanted}, {"user_id": {"$in": [user["_id"] for user in users]}}]
        direction = 1 if request.ascending else -1
        tokens, total = await self._store.find_tokens(where, [("issued_at", direction)], request.offset, request.count)
        return await self._with_users([_shown(token) for token in tokens]), total

    async def _with_users(self, sessions: list[Document]) -> list[Document]:
        users = {user["_id"]: user for user in await self._store.list_users([s["userId"] for s in sessions], [])}
        names = ("_id", "username", "name", "avatarETag")
        for session in sessions:
            user = users.get(session["userId"], {})
            session["_user"] = {name: user[name] for name in names if name in user}
        return sessions

    async def _get(self, actor: User, session_id: str, *, of_all: bool) -> Document:
        token = await self._store.find_session(session_id) if session_id else None
        if token is None or not _stands(token) or (not of_all and token["user_id"] != actor.id):
            raise SessionNotFound()
        return token


def _stands(token: Document) -> bool:
    """Whether it is a session that has not ended."""
    is_over = "revoked_at" in token or token.get("expires_at", {}).get("$date", 0) <= now()
    return "session_id" in token and not is_over


def _shown(token: Document) -> Document:
    return {
        "_id": token["session_id"],
        "sessionId": token["session_id"],
        "userId": token["user_id"],
        "instanceId": token.get("instance_id", ""),
        "ip": token.get("address", ""),
        "device": describe_device(token.get("user_agent", "")),
        "loginAt": token["issued_at"],
        "expiresAt": token["expires_at"],
        "type": token.get("type", ""),
    }
