"""The integrations of the workspace: made, changed, listed and removed, by those who may.

They are documents of the workspace's stream. Whoever may manage all of a type sees and changes them all; whoever may
manage their own, those that they have made, for rooms that they are in, and posting as themself or as a bot.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.database.schema import FieldType
from palaver.errors import InvalidInput, NotAllowed, NotFound
from palaver.events import WORKSPACE
from palaver.filters import read_filter, read_sort, with_id
from palaver.ids import new_id, new_token
from palaver.messaging.integrations import rules
from palaver.messaging.integrations.rules import INCOMING, OUTGOING, TYPES
from palaver.messaging.store import Store
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.event_pb2 import Event
from palaver.v1.integration_pb2 import (
    IntegrationReply,
    IntegrationRequest,
    ListIntegrationsRequest,
    SaveIntegrationRequest,
)

_ALL = {INCOMING: "manage-incoming-integrations", OUTGOING: "manage-outgoing-integrations"}
_OWN = {INCOMING: "manage-own-incoming-integrations", OUTGOING: "manage-own-outgoing-integrations"}
_FIELDS: dict[str, FieldType] = {
    "name": "text",
    "type": "text",
    "enabled": "boolean",
    "event": "text",
    "username": "text",
    "userId": "text",
    "channel": "list",
    "_createdAt": "date",
}
_MAX_LISTED = 1000


class IntegrationNotFound(NotFound):
    code = "error-integration-not-found"
    reason = "The integration does not exists."


class Catalogue:
    """The use cases of integrations' documents."""

    def __init__(self, node: Node, store: Store, clear: Callable[[str], Awaitable[None]]) -> None:
        """`clear` forgets what has been posted for an integration."""
        self._node = node
        self._store = store
        self._clear = clear

    async def save(self, request: SaveIntegrationRequest) -> IntegrationReply:
        """Makes or changes one. Raises NotAllowed, InvalidInput, IntegrationNotFound, NotBuilt."""
        actor = await self._node.access.get_actor(request.actor)
        if request.type not in TYPES:
            raise InvalidInput("Invalid integration type.", code="error-invalid-integration-type")
        self._check_may(actor, request.type)
        fields = rules.read_fields(request.set)
        integration_id = request.integration_id or new_id()
        before = await self._node.database.get("integrations", integration_id)
        if request.integration_id:
            self._check_visible(actor, before, request.type)
        if fields.impersonate_user and not self._node.access.may(actor, _ALL[request.type]):
            raise NotAllowed("You may only post as yourself, or as a bot", code="error-invalid-post-as-user")
        poster = await self._find_poster(actor, fields.username, before, request.type)
        if fields.channel is not None:
            await self._check_channels(actor, request.type, rules.split_channels(fields.channel))
        seq = 0

        async def decide(draft: Draft) -> Document:
            nonlocal seq
            known = await draft.get("integrations", integration_id)
            if request.integration_id:
                self._check_visible(actor, known, request.type)
            at = {"$date": now()}
            new: Document = {
                "_id": integration_id,
                "token": new_token(),
                "_createdAt": at,
                "_createdBy": {"_id": actor.id, "username": actor.username},
            }
            after = rules.apply(fields, known or new, request.type)
            after |= {"userId": poster.id, "username": poster.username, "_updatedAt": at}
            event = Event()
            event.integration_saved.integration_id = integration_id
            event.integration_saved.integration = orjson.dumps(after)
            seq = draft.append(event, actor=request.actor, at=at["$date"]).seq
            return after

        saved = await self._node.commits.execute(WORKSPACE, decide)
        self._node.causality.note_policy(seq)
        await self._node.access.catch_up(seq)
        return IntegrationReply(integration=rules.encode(saved))

    async def get(self, request: IntegrationRequest) -> IntegrationReply:
        """One that the actor may manage. Raises IntegrationNotFound, NotAllowed."""
        return IntegrationReply(integration=rules.encode(await self.get_document(request)))

    async def get_document(self, request: IntegrationRequest) -> Document:
        """The stored document of one that the actor may manage. Raises IntegrationNotFound, NotAllowed."""
        actor = await self._node.access.get_actor(request.actor)
        if not any(self._may_any(actor, kind) for kind in ((request.type,) if request.type in TYPES else TYPES)):
            raise _not_authorized()
        if request.integration_id:
            found = await self._node.database.get("integrations", request.integration_id)
        else:
            where = {"type": OUTGOING, "urls": request.target_url, "deleted_at": None}
            found = await self._node.database.find_one("integrations", where) if request.target_url else None
        found = self._check_visible(actor, found, request.type)
        if request.created_by and found["_createdBy"]["_id"] != request.created_by:
            raise IntegrationNotFound
        return found

    async def list_integrations(self, request: ListIntegrationsRequest) -> DocumentsReply:
        """A page of those that the actor may manage, newest first. Raises NotAllowed, InvalidInput."""
        actor = await self._node.access.get_actor(request.actor)
        visible: list[dict[str, Any]] = []
        for kind in TYPES:
            if self._node.access.may(actor, _ALL[kind]):
                visible.append({"type": kind})
            elif self._node.access.may(actor, _OWN[kind]):
                visible.append({"type": kind, "_createdBy._id": actor.id})
        if not visible:
            raise NotAllowed(code="unauthorized", details={"permission": _ALL[INCOMING]})
        conditions: list[Any] = [{"deleted_at": None}, {"$or": visible}]
        if request.filter:
            conditions.append(read_filter(request.filter, _FIELDS))
        if request.channels:
            conditions.append({"$or": [{"channel": channel} for channel in request.channels]})
        where = {"$and": conditions}
        sort = with_id(read_sort(request.sort, _FIELDS) or [("_createdAt", -1)])
        count = min(request.count or _MAX_LISTED, _MAX_LISTED)
        database = self._node.database
        found = await database.find("integrations", where, sort=sort, skip=request.offset, limit=count)
        total = await database.count("integrations", where)
        return DocumentsReply(documents=map(rules.encode, found), total=total)

    async def remove(self, request: IntegrationRequest) -> IntegrationReply:
        """Ends one; returns it as it was. Raises IntegrationNotFound, NotAllowed."""
        actor = await self._node.access.get_actor(request.actor)
        found = await self.get_document(request)
        seq = 0

        async def decide(draft: Draft) -> Document:
            nonlocal seq
            known = self._check_visible(actor, await draft.get("integrations", found["_id"]), request.type)
            event = Event()
            event.integration_removed.integration_id = known["_id"]
            seq = draft.append(event, actor=request.actor).seq
            return known

        removed = await self._node.commits.execute(WORKSPACE, decide)
        self._node.causality.note_policy(seq)
        await self._node.access.catch_up(seq)
        await self._clear(found["_id"])
        return IntegrationReply(integration=rules.encode(removed))

    def _may_any(self, actor: User, kind: str) -> bool:
        return self._node.access.may(actor, _ALL[kind]) or self._node.access.may(actor, _OWN[kind])

    def _check_may(self, actor: User, kind: str) -> None:
        if not self._may_any(actor, kind):
            raise _not_authorized()

    def _check_visible(self, actor: User, found: Document | None, kind: str) -> Document:
        """The integration, if the actor may manage it. Raises IntegrationNotFound: who may not, knows of none."""
        if found is None or found.get("deleted_at") or (kind and found["type"] != kind):
            raise IntegrationNotFound
        access = self._node.access
        is_own = found["_createdBy"]["_id"] == actor.id
        if not access.may(actor, _ALL[found["type"]]) and not (is_own and access.may(actor, _OWN[found["type"]])):
            raise IntegrationNotFound
        return found

    async def _find_poster(self, actor: User, username: str | None, before: Document | None, kind: str) -> User:
        """The user in whose name it posts. Raises InvalidInput, NotAllowed."""
        access = self._node.access
        if username is None and before is not None:
            poster = await access.find_user(before.get("userId", ""))
        else:
            name = (username or "").strip().lstrip("@")
            poster = (await access.find_users_by_name([name])).get(name) if name else None
        if poster is None:
            raise InvalidInput("Invalid user", code="error-invalid-user")
        if poster.id != actor.id and poster.type != "bot" and not access.may(actor, _ALL[kind]):
            raise NotAllowed("You may only post as yourself, or as a bot", code="error-invalid-post-as-user")
        return poster

    async def _check_channels(self, actor: User, kind: str, channels: list[str]) -> None:
        """Raises InvalidInput for a room or user that there is not, or that is not the actor's to choose."""
        may_all = self._node.access.may(actor, _ALL[kind])
        for channel in channels:
            if channel in rules.EVERYWHERE:
                if not may_all:
                    raise NotAllowed("Not allowed for your own integrations", code="error-invalid-channel")
                continue
            if channel[0] == "@":
                # To post to anybody is one thing; to be told what they say among themselves is another.
                is_own = kind == INCOMING or channel[1:] == actor.username
                known = (may_all or is_own) and bool(await self._node.access.find_users_by_name([channel[1:]]))
            elif channel[0] == "#":
                room = await self._store.find_room_by_name(channel[1:]) or await self._store.find_room(channel[1:])
                known = room is not None and (
                    may_all or await self._store.find_subscription(room["_id"], actor.id) is not None
                )
            else:
                continue  # `rules.apply` has the words for it
            if not known:
                raise InvalidInput("Invalid room", code="error-invalid-room")


def _not_authorized() -> NotAllowed:
    return NotAllowed("Unauthorized", code="not_authorized")
