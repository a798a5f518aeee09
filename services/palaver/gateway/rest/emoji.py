"""The workspace's own emoji."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.multipart import MultipartForm, read_form
from palaver.gateway.operations import media
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.permissions import parse_since
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.uploads import Incoming
from palaver.v1.auth_pb2 import EMOJI

_FIELDS = media.FIELDS[EMOJI]


class ListQuery(LooseParams, rename="camel"):
    updated_since: str | None = None
    id: str = msgspec.field(name="_id", default="")
    query: str = ""


class DeleteBody(LooseParams, rename="camel"):
    emoji_id: str = ""


@endpoint("GET", "emoji-custom.list", query=ListQuery)
async def list_changed(call: Call, query: ListQuery) -> Answer:
    """All of them; or those that have changed since a moment, and those that are gone since."""
    where: list[dict[str, Any]] = [parse_query(query.query, _FIELDS)]
    if query.id:
        where.append({"_id": query.id})
    since = parse_since(query.updated_since)
    if since is not None:
        where.append({"_updatedAt": {"$gt": {"$date": since}}})
    conditions = [one for one in where if one]
    found, _ = await media.list_media(call, EMOJI, where={"$and": conditions} if conditions else None)
    removed = [] if since is None else await media.list_removed(call, EMOJI, since)
    return {"emojis": {"update": found, "remove": removed}}


@endpoint("GET", "emoji-custom.all", query=Page, lists="emojis")
async def list_all(call: Call, query: Page) -> Answer:
    offset, count = page(call, query)
    found, total = await media.list_media(
        call,
        EMOJI,
        where=parse_query(query.query, _FIELDS),
        sort=parse_sort(query.sort, ("_id", "name", "extension", "_updatedAt")),
        offset=offset,
        count=count,
    )
    return {"emojis": found, "count": len(found), "offset": offset, "total": total}


@endpoint("POST", "emoji-custom.create", form=("emoji", "name", "aliases"))
async def create(call: Call, incoming: Incoming) -> Answer:
    picture, fields = await _read(call, incoming)
    if picture is None:
        raise InvalidInput("", code="No file uploaded")
    await media.save(call, EMOJI, "", _changes(fields), picture)
    return {}


@endpoint("POST", "emoji-custom.update", form=("emoji", "_id", "name", "aliases"))
async def update(call: Call, incoming: Incoming) -> Answer:
    picture, fields = await _read(call, incoming)
    emoji_id = fields.get("_id", "")
    if not emoji_id:
        raise Failure('The required "_id" query param is missing.')
    if not (await media.list_media(call, EMOJI, where={"_id": emoji_id}))[1]:
        raise Failure("Emoji not found.")
    await media.save(call, EMOJI, emoji_id, _changes(fields), picture)
    return {}


@endpoint("POST", "emoji-custom.delete", body=DeleteBody)
async def delete(call: Call, body: DeleteBody) -> Answer:
    if not body.emoji_id:
        raise Failure('The "emojiId" params is required!')
    await media.delete(call, EMOJI, body.emoji_id)
    return {}


async def _read(call: Call, incoming: Incoming) -> tuple[bytes | None, dict[str, str]]:
    media.check_may_manage(call, EMOJI)
    form = MultipartForm(incoming.request.headers.get("content-type", ""), incoming.request.stream())
    return await read_form(form, "emoji", media.MAX_EMOJI_BYTES)


def _changes(fields: dict[str, str]) -> dict[str, Any]:
    aliases = fields.get("aliases")
    return {"name": fields.get("name"), "aliases": None if aliases is None else aliases.split(",")}
