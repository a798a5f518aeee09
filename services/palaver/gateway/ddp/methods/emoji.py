"""Methods of the workspace's own emoji. Their REST twins are in `rest/emoji.py`."""

from typing import Any

import msgspec

from palaver.errors import NotFound
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import media
from palaver.v1.auth_pb2 import EMOJI


class ListOptions(msgspec.Struct):
    name: str = ""
    aliases: list[str] = []


class EmojiData(msgspec.Struct):
    """What clients say of an emoji. `aliases`: with commas between."""

    id: str = msgspec.field(name="_id", default="")
    name: str | None = None
    aliases: str | list[str] | None = None
    extension: str | None = None

    def changes(self) -> dict[str, Any]:
        aliases = self.aliases.split(",") if isinstance(self.aliases, str) else self.aliases
        return {"name": self.name, "aliases": aliases, "extension": self.extension}


@method("listEmojiCustom", ListOptions | None)
async def list_emoji(call: Call, options: ListOptions | None) -> list[dict[str, Any]]:
    where: dict[str, Any] = {}
    if options is not None and options.name:
        where["name"] = options.name
    if options is not None and options.aliases:
        where["$or"] = [{"aliases": alias} for alias in options.aliases[:50]]
    return (await media.list_media(call, EMOJI, where=where))[0]


@method("insertOrUpdateEmoji", EmojiData)
async def save_emoji(call: Call, data: EmojiData) -> Any:
    """Answers the new one's id, or true for one that is changed. Its picture comes by `uploadEmojiCustom`."""
    saved = await media.save(call, EMOJI, data.id, data.changes())
    return True if data.id else saved["_id"]


@method("uploadEmojiCustom", str, str, EmojiData)
async def upload_emoji(call: Call, content: str, content_type: str, data: EmojiData) -> None:
    """The picture of an emoji that is known by its id or its name."""
    media.check_may_manage(call, EMOJI)
    known, _ = await media.list_media(call, EMOJI, where={"_id": data.id} if data.id else {"name": data.name or ""})
    if not known:
        raise NotFound("There is no such emoji", code="Custom_Emoji_Error_Invalid_Emoji")
    await media.save(call, EMOJI, known[0]["_id"], {}, media.binary(content))


@method("deleteEmojiCustom", str)
async def delete_emoji(call: Call, emoji_id: str) -> bool:
    await media.delete(call, EMOJI, emoji_id)
    return True
