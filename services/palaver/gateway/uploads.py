"""Files on their way in and out: between HTTP and the blobs, a piece at a time.

What a file is and who may have it is messaging's; here is what a browser may be told of it. Used by `rest/uploads.py`
(in), `app.py` and `media.py` (out).
"""

import mimetypes
import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from palaver.blobs import BlobNotFound, Blobs, one_piece
from palaver.errors import InvalidInput, LoginRequired, NotAllowed, NotFound, Unavailable
from palaver.events import user_actor
from palaver.gateway.call import Call
from palaver.gateway.metadata import without_metadata
from palaver.gateway.multipart import MultipartForm, Part
from palaver.gateway.thumbnails import find_look
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import AuthenticateRequest
from palaver.v1.messaging_pb2 import GetUploadRequest, Picture, Thumbnail, UploadRequest

Document = dict[str, Any]

_MAX_NAME = 255
_is_media_type = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}").fullmatch
_UNKNOWN_TYPE = "application/octet-stream"

# What a browser may show by itself. It runs nothing that is in them, and takes them for nothing else (`nosniff`).
_SHOWN_TYPES = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon"),
        *("audio/mpeg", "audio/mp4", "audio/aac", "audio/ogg", "audio/wav", "audio/x-wav", "audio/webm", "audio/flac"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
        "application/pdf",
    }
)
# A browser's viewer of PDF is kept from everything else, and refuses to work in a sandbox.
_POLICY = "default-src 'none'"
_SANDBOX = "default-src 'none'; sandbox"


@dataclass(frozen=True, slots=True)
class Incoming:
    """The body of a request that is not read yet, and where its file goes to."""

    request: Request
    blobs: Blobs


# -- in ----------------------------------------------------------------------------------------------------------------


async def receive(call: Call, incoming: Incoming, room_id: str) -> tuple[Document, dict[str, str]]:
    """Stores the form's one file for the room; returns its document, and the form's other fields.

    Raises InvalidInput, NotAllowed, RoomNotFound; nothing is stored then.
    """
    form = MultipartForm(incoming.request.headers.get("content-type", ""), incoming.request.stream())
    stored: UploadRequest | None = None
    thumbnail_id = ""
    fields: dict[str, str] = {}
    try:
        async for part in form.parts():
            if part.filename is None:
                fields[part.name] = await part.text()
                continue
            if part.name != "file":
                raise InvalidInput("", code="invalid-field")
            if stored is not None:
                raise InvalidInput("", code="Just 1 file is allowed")
            stored = await _store(call, incoming.blobs, room_id, part)
        if stored is None:
            raise InvalidInput("", code="No file uploaded")
        if stored.type.startswith("image/"):
            thumbnail_id = new_id()
            await _add_look(call, incoming.blobs, stored, thumbnail_id)
        reply = await call.services.messaging.add_upload(stored)
    except Unavailable:
        raise  # it may be there: what is not is cleaned away
    except BaseException:
        if stored is not None:
            await incoming.blobs.delete(_key(stored.upload_id))
        if thumbnail_id:
            await incoming.blobs.delete(_key(thumbnail_id))
        raise
    return orjson.loads(reply.upload), fields


async def _store(call: Call, blobs: Blobs, room_id: str, part: Part) -> UploadRequest:
    name = clean_name(part.filename or "")
    request = UploadRequest(
        actor=call.actor, room_id=room_id, upload_id=new_id(), name=name, type=media_type(part.content_type, name)
    )
    await call.services.messaging.check_upload(request)
    limit = int(call.setting("FileUpload_MaxFileSize"))
    max_size = limit if limit >= 0 else sys.maxsize
    content = part.chunks()
    if request.type.startswith("image/") and call.setting("Message_Attachments_Strip_Exif"):
        content = without_metadata(content, max_size)
    request.size, request.sha256 = await blobs.put(_key(request.upload_id), content, max_size=max_size)
    return request


async def _add_look(call: Call, blobs: Blobs, request: UploadRequest, thumbnail_id: str) -> None:
    """Adds what is shown of a picture, and stores its thumbnail; nothing for what can't be read as a picture."""
    sides = "Message_Attachments_Thumbnails_Width", "Message_Attachments_Thumbnails_Height"
    within = None
    if call.setting("Message_Attachments_Thumbnails_Enabled"):
        within = int(call.setting(sides[0])), int(call.setting(sides[1]))
    look = await find_look(call.pictures, blobs, _key(request.upload_id), request.type, request.size, within)
    if look is None:
        return
    picture = Picture(format=look.format, width=look.width, height=look.height, preview=look.preview)
    if (made := look.thumbnail) is not None:
        size, sha256 = await blobs.put(_key(thumbnail_id), one_piece(made.data), max_size=len(made.data))
        shown = Thumbnail(type=made.type, size=size, sha256=sha256, width=made.width, height=made.height)
        shown.upload_id = thumbnail_id
        picture.thumbnail.CopyFrom(shown)
    request.picture.CopyFrom(picture)


def _key(upload_id: str) -> str:
    return f"files/{upload_id}"


def clean_name(name: str) -> str:
    """A file's name as it is shown: without a path and without what can't be printed."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(letter for letter in last if letter.isprintable()).strip()
    if len(shown) > _MAX_NAME:
        stem, dot, extension = shown.rpartition(".")
        shown = f"{stem[: _MAX_NAME - 20]}.{extension[:19]}" if dot else shown[:_MAX_NAME]
    return shown if shown.strip(".") else "file"


def media_type(given: str, name: str) -> str:
    """What the client says that it is, else what the name says, else just bytes."""
    given = given.partition(";")[0].strip().lower()
    if not _is_media_type(given) or given == _UNKNOWN_TYPE:
        given = mimetypes.guess_type(name, strict=False)[0] or _UNKNOWN_TYPE
    return given


# -- out ---------------------------------------------------------------------------------------------------------------


async def identify(node: Node, request: Request) -> str:
    """The id of who is logged in by headers, the address or cookies; "" for nobody. Raises LoginRequired."""
    for source, user_name, token_name in (
        (request.headers, "x-user-id", "x-auth-token"),
        (request.query_params, "rc_uid", "rc_token"),
        (request.cookies, "rc_uid", "rc_token"),
    ):
        user_id, token = source.get(user_name, ""), source.get(token_name, "")
        if user_id and token:
            await node.services.auth.authenticate(AuthenticateRequest(token=token, user_id=user_id))
            return user_id
    return ""


class Downloads:
    """The ASGI endpoints of /file-upload/:id/:name and its old alias."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def serve(self, request: Request) -> Response:
        """The file, or the part of it that is asked for, for somebody who may have it."""
        try:
            user_id = await identify(self._node, request)
            reply = await self._node.services.messaging.get_upload(
                GetUploadRequest(actor=user_actor(user_id), upload_id=request.path_params["id"])
            )
            return await self._answer(request, orjson.loads(reply.upload))
        except (LoginRequired, NotAllowed):
            return PlainTextResponse("Forbidden", 403)
        except NotFound:
            return PlainTextResponse("Not found", 404)
        except Unavailable as error:
            return PlainTextResponse(error.error_reason, 503)

    async def _answer(self, request: Request, upload: Document) -> Response:
        headers = {
            **_safe_headers(upload, "download" in request.query_params),
            "Cache-Control": "private, no-cache",
            "ETag": f'"{upload["sha256"]}"',
        }
        return await answer_blob(request, self._node.blobs, _key(upload["_id"]), int(upload["size"]), headers)


async def answer_blob(request: Request, blobs: Blobs, key: str, size: int, headers: Mapping[str, str]) -> Response:
    """A blob of so many bytes, or the part of it that is asked for; nothing where the client has it by its `ETag`.

    Raises BlobNotFound.
    """
    headers, tag = {**headers, "Accept-Ranges": "bytes"}, headers["ETag"]
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    if "range" in request.headers and request.headers.get("if-range", tag) == tag:
        wanted = parse_range(request.headers["range"], size)
        if wanted is None:
            pass
        elif wanted[0] >= wanted[1]:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        else:
            (start, end), status = wanted, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    pieces = await blobs.read(key, start, end)
    return StreamingResponse(_whole(pieces, end - start), status, headers)


async def _whole(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Fails where the stored bytes are fewer than the file has: the client must not take a part for the whole."""
    async for piece in pieces:
        size -= len(piece)
        yield piece
    if size:
        raise BlobNotFound("A part of the file is missing")


def _safe_headers(upload: Mapping[str, Any], as_attachment: bool) -> dict[str, str]:
    shown = upload["type"] in _SHOWN_TYPES
    disposition = "inline" if shown and not as_attachment else "attachment"
    return {
        "Content-Type": upload["type"] if shown else _UNKNOWN_TYPE,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(upload['name'], safe='')}",
        "Content-Security-Policy": _POLICY if upload["type"] == "application/pdf" else _SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-site",
    }


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for what asks for everything or is not understood.

    The first is not before the one after the last where there is no such part.
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    start = int(found[1])
    if found[2] and int(found[2]) < start:
        return None
    return start, min(size, int(found[2]) + 1) if found[2] else size
