"""Emoji and sounds of the workspace's own by their addresses, for everybody: pages show them without a login.

Called by `app.py`; `assets.py` answers with its files the same way.
"""

from email.utils import formatdate
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from palaver.blobs import MEDIA, BlobNotFound, Blobs
from palaver.errors import NotFound, Unavailable
from palaver.gateway.uploads import answer_blob
from palaver.node import Node
from palaver.v1.auth_pb2 import EMOJI, SOUND, MediumRequest

_HEADERS = {
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
_KEPT = {"Cache-Control": "public, max-age=31536000"}
# Shown for an emoji that is not there, which may come.
_NO_EMOJI = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20"><circle cx="10" cy="10" r="9" fill="none"'
    ' stroke="#8a8f98" stroke-width="1.5" stroke-dasharray="3 2"/></svg>'
)
_LONG_AGO = "Thu, 01 Jan 2015 00:00:00 GMT"


class Media:
    """The endpoints below /emoji-custom and /custom-sounds."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def emoji(self, request: Request) -> Response:
        """/emoji-custom/NAME.ext"""
        name = request.path_params["name"].rpartition(".")[0] or request.path_params["name"]
        if not name:
            return PlainTextResponse("Forbidden", 403)
        try:
            return await self._answer(request, MediumRequest(kind=EMOJI, name=name))
        except (NotFound, BlobNotFound):
            pass
        except Unavailable as error:
            return PlainTextResponse(error.error_reason, 503)
        headers = {**_HEADERS, "Last-Modified": _LONG_AGO, "Cache-Control": "public, max-age=0", "Expires": "-1"}
        if request.headers.get("if-modified-since") == _LONG_AGO:
            return _unchanged(headers)
        return Response(_NO_EMOJI, headers={**headers, "Content-Type": "image/svg+xml"})

    async def sound(self, request: Request) -> Response:
        """/custom-sounds/ID.ext"""
        sound_id = request.path_params["name"].partition(".")[0]
        try:
            return await self._answer(request, MediumRequest(kind=SOUND, medium_id=sound_id))
        except (NotFound, BlobNotFound):
            return PlainTextResponse("Not found", 404)
        except Unavailable as error:
            return PlainTextResponse(error.error_reason, 503)

    async def _answer(self, request: Request, which: MediumRequest) -> Response:
        """Raises NotFound, BlobNotFound, Unavailable."""
        if not (which.name or which.medium_id):
            raise NotFound
        reply = await self._node.services.auth.get_medium(which)
        medium: dict[str, Any] = orjson.loads(reply.medium)
        if "file" not in medium:
            raise BlobNotFound
        file = medium["file"]
        changed = formatdate(medium["_updatedAt"]["$date"] // 1000, usegmt=True)
        headers = {**_HEADERS, **_KEPT, "Last-Modified": changed, "ETag": f'"{file["_id"]}"'}
        if request.headers.get("if-modified-since") == changed:
            return _unchanged(headers)
        return await answer_file(request, self._node.blobs, file["_id"], {**headers, "Content-Type": file["type"]})


async def answer_file(request: Request, blobs: Blobs, file_id: str, headers: dict[str, str]) -> Response:
    """A file of the workspace's media, as `answer_blob` does it. Raises BlobNotFound, Unavailable."""
    key = f"{MEDIA}/{file_id}"
    blob = await blobs.find(key)
    if blob is None:
        raise BlobNotFound
    return await answer_blob(request, blobs, key, blob.size, headers)


def _unchanged(headers: dict[str, str]) -> Response:
    """What the client has is still right. Such an answer says nothing of how long it is so."""
    return Response(
        status_code=304, headers={name: value for name, value in headers.items() if name != "Cache-Control"}
    )
