"""Files as messages have them: which upload a message may be of, and what it shows of it."""

from collections.abc import Iterable, Sequence
from typing import Any

from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import InvalidInput

THUMBNAILS = "thumb"
"""The `typeGroup` of smaller pictures, which no message is of by themselves."""


def find_end(upload: Document, room: Document | None) -> int | None:
    """When nobody can have the file any more (epoch milliseconds): deleted by itself, with its room, or expired."""
    ends = [upload.get("deleted_at"), None if room is None else room.get("deleted_at"), upload.get("expiresAt")]
    return min((int(end["$date"]) for end in ends if end is not None), default=None)


def is_gone(upload: Document, room: Document | None, at: int) -> bool:
    """Whether nobody can have the file any more: whatever the clocks say, where it was deleted."""
    if "deleted_at" in upload or (room is not None and "deleted_at" in room):
        return True
    end = find_end(upload, room)
    return end is not None and end <= at


async def find_own(draft: Draft, upload_id: str, user_id: str) -> Document:
    """The upload that a user sends into the draft's room. Raises InvalidInput for one that they can't send."""
    upload = await draft.get("uploads", upload_id)
    if (
        upload is None
        or upload["rid"] != draft.stream.id
        or upload["userId"] != user_id
        or "expiresAt" not in upload
        or upload["typeGroup"] == THUMBNAILS
        or is_gone(upload, None, now())
    ):
        raise InvalidInput("", code="invalid-file")
    return upload


def message_fields(upload: Document, thumbnail: Document | None, description: str) -> dict[str, Any]:
    """What a message of the file has besides its text."""
    file = {name: upload[name] for name in ("_id", "name", "type", "size")}
    files = [{**file, "format": upload["extension"]}]
    kind = upload["type"].partition("/")[0]
    attachment: dict[str, Any] = {
        "ts": upload["uploadedAt"],
        "title": upload["name"],
        "title_link": upload["path"],
        "title_link_download": True,
        "type": "file",
        "fileId": upload["_id"],
    }
    if description:
        attachment["description"] = description
    if kind in ("image", "audio", "video"):
        attachment |= {
            f"{kind}_url": upload["path"],
            f"{kind}_type": upload["type"],
            f"{kind}_size": upload["size"],
        }
    else:
        attachment |= {"format": upload["extension"].upper(), "size": upload["size"]}
    if kind == "image" and "identify" in upload:
        attachment |= {"image_dimensions": upload["identify"]["size"], "image_preview": upload["preview"]}
    if thumbnail is not None:
        smaller = {name: thumbnail[name] for name in ("_id", "name", "type", "size")}
        files.append({**smaller, "format": thumbnail["identify"]["format"]})
        attachment |= {
            "image_url": thumbnail["path"],
            "image_type": thumbnail["type"],
            "image_dimensions": thumbnail["identify"]["size"],
        }
    return {"file": file, "files": files, "attachments": [attachment]}


def list_ids(upload: Document) -> list[str]:
    """The upload's id, and that of its smaller picture if it has one: both go together."""
    return [upload["_id"], *([upload["thumbnail_id"]] if "thumbnail_id" in upload else [])]


async def find_attached(draft: Draft, message: Document) -> Document | None:
    """The upload that this stored message is of; whoever sends a message may write any id into its `file`."""
    return next(iter(await list_attached(draft, [message])), None)


async def list_attached(draft: Draft, messages: Sequence[Document]) -> list[Document]:
    """The uploads that these stored messages are of."""
    ids = list_claimed(messages)
    uploads = await draft.get_many("uploads", ids) if ids else []
    return of_these(uploads, messages)


def list_claimed(messages: Sequence[Document]) -> list[str]:
    """The ids in the messages' `file`, whether these messages are of such uploads or not."""
    ids = [file.get("_id") for message in messages if isinstance(file := message.get("file"), dict)]
    return list(dict.fromkeys(id for id in ids if isinstance(id, str) and id))


def of_these(uploads: Iterable[Document], messages: Sequence[Document]) -> list[Document]:
    """Those that one of the messages is of, whoever else claims them."""
    message_ids = {message["_id"] for message in messages}
    return [upload for upload in uploads if upload.get("message_id") in message_ids]
