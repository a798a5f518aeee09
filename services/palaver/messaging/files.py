"""Files as messages have them: which upload a message may be of, and what it shows of it."""

from typing import Any

from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import InvalidInput


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
        or is_gone(upload, None, now())
    ):
        raise InvalidInput("", code="invalid-file")
    return upload


def message_fields(upload: Document, description: str) -> dict[str, Any]:
    """What a message of the file has besides its text."""
    file = {name: upload[name] for name in ("_id", "name", "type", "size")}
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
    return {"file": file, "files": [{**file, "format": upload["extension"]}], "attachments": [attachment]}


async def find_attached(draft: Draft, message: Document) -> Document | None:
    """The upload that this stored message is of; whoever sends a message may write any id into its `file`."""
    upload_id = (message.get("file") or {}).get("_id")
    upload = await draft.get("uploads", upload_id) if isinstance(upload_id, str) and upload_id else None
    return upload if upload is not None and upload.get("message_id") == message["_id"] else None
