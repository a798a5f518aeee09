"""Use cases: the workspace's own emoji and sounds. Their bytes are blobs, which gateways store and serve.

Both are kept, named and told of in one way; `_KINDS` has what differs. Called by role.py.
"""

from dataclasses import dataclass

import msgspec
import orjson

from palaver.blobs import MEDIA, is_key
from palaver.commit import Draft, now
from palaver.database import Document, Filter
from palaver.database.schema import COLLECTIONS, FieldType
from palaver.errors import Conflict, InvalidInput, NotAllowed, NotFound
from palaver.events import WORKSPACE, user_actor
from palaver.filters import read_filter, read_sort, with_id
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    EMOJI,
    SOUND,
    DocumentsReply,
    ListMediaRequest,
    MediumReply,
    MediumRequest,
    SaveMediumRequest,
)
from palaver.v1.event_pb2 import Actor, Event, MediumDeleted, MediumSaved

_MAX_NAME, _MAX_ALIASES, _MAX_EXTENSION = 100, 50, 8
_MARKUP = frozenset("<>&\"'")
_INSIDE = ("deleted_at", "file", "file_id")
_TYPES = frozenset(
    ("image/png", "image/jpeg", "image/gif", "image/webp", "audio/mpeg", "audio/ogg", "audio/wav", "audio/mp4")
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """`forbidden`: what no name has; the errors' codes: of a name that is taken, and of one that is not there."""

    collection: str
    permission: str
    has_aliases: bool
    forbidden: frozenset[str]
    taken: str
    unknown: str

    @property
    def fields(self) -> dict[str, FieldType]:
        """What lists can be filtered and sorted by."""
        stored = COLLECTIONS[self.collection].fields.items()
        return {"_id": "text", **{name: type for name, type in stored if name not in _INSIDE}}


_KINDS: dict[int, _Kind] = {
    EMOJI: _Kind(
        "emoji",
        "manage-emoji",
        True,
        _MARKUP | frozenset(",:/\\() "),
        "Custom_Emoji_Error_Name_Or_Alias_Already_In_Use",
        "Custom_Emoji_Error_Invalid_Emoji",
    ),
    SOUND: _Kind(
        "sounds",
        "manage-sounds",
        False,
        _MARKUP,
        "Custom_Sound_Error_Name_Already_In_Use",
        "Custom_Sound_Error_Invalid_Sound",
    ),
}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    id: str = msgspec.field(name="_id")


class _Changes(msgspec.Struct, forbid_unknown_fields=True):
    """What of one may be set; None stays as it is."""

    name: str | None = None
    aliases: list[str] | None = None
    extension: str | None = None
    file: _File | None = None


class Media:
    """Saves, deletes and lists them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def save(self, request: SaveMediumRequest) -> MediumReply:
        """Makes one, or changes one. Raises NotAllowed, InvalidInput, NotFound, Conflict (of a name)."""
        kind = _get_kind(request.kind)
        actor = await self._checked_actor(request.actor, kind)
        changes = _parse(request.set, kind)
        medium_id = request.medium_id or new_id()

        async def decide(draft: Draft) -> Document:
            before = await draft.get(kind.collection, medium_id)
            if request.medium_id and (before is None or "deleted_at" in before):
                raise NotFound("There is none with this id", code=kind.unknown)
            at = now()
            medium = _checked({**(before or {}), **changes, "_id": medium_id, "_updatedAt": {"$date": at}}, kind)
            for name in (medium["name"], *medium.get("aliases", ())):
                for field in ("name", "aliases") if kind.has_aliases else ("name",):
                    other = await draft.find_one(kind.collection, **{field: name})
                    if other is not None and other["_id"] != medium_id:
                        raise Conflict("The name or an alias is already in use", code=kind.taken)
            fact = MediumSaved(kind=kind.collection, medium_id=medium_id, medium=orjson.dumps(medium))
            fact.file_id = medium.get("file_id", "")
            draft.append(Event(medium_saved=fact), actor=actor, at=at)
            return medium

        return _reply(await self._node.commits.execute(WORKSPACE, decide))

    async def delete(self, request: MediumRequest) -> MediumReply:
        """Deletes one, and answers what it was. Raises NotAllowed, NotFound."""
        kind = _get_kind(request.kind)
        actor = await self._checked_actor(request.actor, kind)

        async def decide(draft: Draft) -> Document:
            medium = await draft.get(kind.collection, request.medium_id) if request.medium_id else None
            if medium is None or "deleted_at" in medium:
                raise NotFound("There is none with this id", code=kind.unknown)
            fact = MediumDeleted(kind=kind.collection, medium_id=request.medium_id)
            draft.append(Event(medium_deleted=fact), actor=actor)
            return medium

        return _reply(await self._node.commits.execute(WORKSPACE, decide))

    async def get(self, request: MediumRequest) -> MediumReply:
        """One by its id or its name, as gateways serve it to anybody: with its file. Raises NotFound."""
        kind, database = _get_kind(request.kind), self._node.database
        if request.medium_id:
            medium = await database.get(kind.collection, request.medium_id)
        else:
            medium = await database.find_one(kind.collection, {"name": request.name}) if request.name else None
        if medium is None or "deleted_at" in medium:
            raise NotFound("There is none with this id", code=kind.unknown)
        return MediumReply(medium=orjson.dumps(medium))

    async def list_some(self, request: ListMediaRequest) -> DocumentsReply:
        """A page of them by name, or those deleted since some moment, for everybody who is logged in."""
        kind, database = _get_kind(request.kind), self._node.database
        await self._node.access.get_actor(request.actor)
        if request.offset < 0 or request.count < 0:
            raise InvalidInput("offset and count can't be negative")
        if request.HasField("removed_since"):
            gone = await database.find(kind.collection, {"deleted_at": {"$gt": {"$date": request.removed_since}}})
            removed = [orjson.dumps({"_id": one["_id"], "_deletedAt": one["deleted_at"]}) for one in gone]
            return DocumentsReply(documents=removed, total=len(removed))
        there: Filter = {"deleted_at": None}
        chosen = read_filter(request.filter, kind.fields)
        where: Filter = {"$and": [there, chosen]} if chosen else there
        sort = with_id(read_sort(request.sort, kind.fields) or [("name", 1)])
        found = await database.find(kind.collection, where, sort=sort, skip=request.offset, limit=request.count)
        total = await database.count(kind.collection, where)
        return DocumentsReply(documents=[orjson.dumps(_public(medium)) for medium in found], total=total)

    async def _checked_actor(self, actor: Actor, kind: _Kind) -> Actor:
        access = self._node.access
        user = await access.get_actor(actor)
        if not access.may(user, kind.permission):
            raise NotAllowed("Not authorized", code="not_authorized")
        return user_actor(user.id)


def _get_kind(number: int) -> _Kind:
    kind = _KINDS.get(number)
    if kind is None:
        raise InvalidInput("There is no such kind")
    return kind


def _parse(data: bytes, kind: _Kind) -> Document:
    """The fields of the document to set. Raises InvalidInput."""
    try:
        changes = msgspec.json.decode(data, type=_Changes)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput("The changes are wrong") from error
    given: Document = {}
    if changes.name is not None:
        given["name"] = changes.name.strip()
    if kind.has_aliases and changes.aliases is not None:
        given["aliases"] = list(dict.fromkeys(filter(None, (alias.strip() for alias in changes.aliases))))
    if changes.extension is not None:
        given["extension"] = changes.extension.lower()
    if (file := changes.file) is not None:
        if not is_key(f"{MEDIA}/{file.id}") or file.type not in _TYPES:
            raise InvalidInput("The file is none")
        given |= {"file": {"_id": file.id, "type": file.type}, "file_id": file.id}
    return given


def _checked(medium: Document, kind: _Kind) -> Document:
    """The document as it is stored: no alias is the name. Raises InvalidInput."""
    name, extension = medium.get("name", ""), medium.setdefault("extension", "")
    if not name:
        raise InvalidInput("The field Name is required", code="error-the-field-is-required", details={"field": "Name"})
    _check_name(name, "Name", kind)
    if len(extension) > _MAX_EXTENSION or (extension and not (extension.isascii() and extension.isalnum())):
        raise _invalid("Extension", extension)
    if not kind.has_aliases:
        return medium
    aliases = [alias for alias in medium.get("aliases", ()) if alias != name]
    for alias in aliases:
        _check_name(alias, "Alias_Set", kind)
    if len(aliases) > _MAX_ALIASES:
        raise _invalid("Alias_Set", ",".join(aliases))
    return {**medium, "aliases": aliases}


def _check_name(name: str, field: str, kind: _Kind) -> None:
    if len(name) > _MAX_NAME or not kind.forbidden.isdisjoint(name) or not name.isprintable():
        raise _invalid(field, name)


def _invalid(field: str, value: str) -> InvalidInput:
    shown = value[:_MAX_NAME]
    return InvalidInput(
        f"{shown} is not a valid {field}",
        code="error-input-is-not-a-valid-field",
        details={"input": shown, "field": field},
    )


def _public(medium: Document) -> Document:
    """Without what is only the server's. `etag`: clients fetch it again where that is another one."""
    shown = {name: value for name, value in medium.items() if name not in _INSIDE}
    return {**shown, **({"etag": medium["file_id"]} if "file_id" in medium else {})}


def _reply(medium: Document) -> MediumReply:
    return MediumReply(medium=orjson.dumps(_public(medium)))
