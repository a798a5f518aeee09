"""Pictures of users and rooms by their addresses: what was uploaded, or initials on a colour.

Who is not known, or has no picture, has initials all the same: an address says nothing of who there is. So does one of
a room or user whose picture is not for whoever asks. Called by `app.py`.
"""

from hashlib import sha256
from html import escape
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from palaver.blobs import BlobNotFound
from palaver.errors import LoginRequired, NotAllowed, NotFound, Unavailable
from palaver.events import user_actor
from palaver.gateway.pictures import Pictures
from palaver.gateway.uploads import identify
from palaver.node import Node
from palaver.v1.auth_pb2 import GetUsersRequest
from palaver.v1.messaging_pb2 import GetRoomRequest

_COLOURS = (
    "#b3261e",
    "#9c2964",
    "#7b3fb0",
    "#4a55c2",
    "#1f6fb2",
    "#0e7c86",
    "#1e7f4f",
    "#5b7a1a",
    "#94690a",
    "#b0521c",
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}
_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200"><rect width="100%" height="100%" fill="{colour}"/>'
    '<text x="50%" y="50%" dy="0.36em" text-anchor="middle" fill="#ffffff" font-size="100"'
    ' font-family="Helvetica, Arial, sans-serif">{text}</text></svg>'
)


def initials(name: str) -> str:
    """The first letters of the first and the last word, or two of the only one."""
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    letters = words[0][0] + words[-1][0] if len(words) > 1 else "".join(words)[:2]
    return letters.upper()[:2] or "?"


class Avatars:
    """The endpoints below /avatar."""

    def __init__(self, node: Node, pictures: Pictures) -> None:
        self._node = node
        self._pictures = pictures

    async def of_user(self, request: Request) -> Response:
        """/avatar/:username"""
        username = request.path_params["username"]
        provider = str(self._node.access.setting("Accounts_AvatarExternalProviderUrl") or "")
        if provider:
            return RedirectResponse(provider.replace("{username}", quote(username, safe="")), 302)
        return await self._answer_user(request, GetUsersRequest(usernames=[username]), username)

    async def of_user_id(self, request: Request) -> Response:
        """/avatar/uid/:user_id"""
        return await self._answer_user(request, GetUsersRequest(user_ids=[request.path_params["user_id"]]), "")

    async def of_room(self, request: Request) -> Response:
        """/avatar/room/:room_id. Its name is not for everybody: drawn, the picture has none."""
        room_id = request.path_params["room_id"]
        provider = str(self._node.access.setting("Accounts_RoomAvatarExternalProviderUrl") or "")
        if provider:
            return RedirectResponse(provider.replace("{roomId}", quote(room_id, safe="")), 302)
        etag = ""
        try:
            actor = user_actor(await identify(self._node, request))
            reply = await self._node.services.messaging.get_room(GetRoomRequest(actor=actor, room_id=room_id))
            etag = orjson.loads(reply.room).get("avatarETag") or ""
        except (LoginRequired, NotAllowed, NotFound, Unavailable):
            pass
        return await self._answer(request, etag, room_id, "#")

    async def _answer_user(self, request: Request, which: GetUsersRequest, username: str) -> Response:
        access = self._node.access
        etag, name = "", username
        try:
            may_see = not access.setting("Accounts_AvatarBlockUnauthenticatedAccess") or await identify(
                self._node, request
            )
            if may_see:
                reply = await self._node.services.auth.get_users(which)
                user: dict[str, Any] = next(map(orjson.loads, reply.documents), {})
                etag = user.get("avatarETag") or ""
                username = user.get("username") or username
                name = user.get("name", "") if access.setting("UI_Use_Name_Avatar") else ""
        except (LoginRequired, Unavailable):
            pass
        return await self._answer(request, etag, username.lower(), initials(name or username))

    async def _answer(self, request: Request, etag: str, key: str, text: str) -> Response:
        """The picture of this id; without one, or when it is lost, the text is drawn."""
        seconds = max(0, int(self._node.access.setting("Accounts_AvatarCacheTime")))
        headers = {**_HEADERS, "Cache-Control": f"public, max-age={seconds}"}
        if etag:
            # A shared cache must not give it to somebody who may not see it.
            headers |= {"Cache-Control": f"private, max-age={seconds}", "ETag": f'"{etag}"'}
            if f'"{etag}"' in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=headers)
            try:
                data, content_type = await self._pictures.read(etag)
                return Response(data, headers={**headers, "Content-Type": content_type})
            except (BlobNotFound, Unavailable, ValueError):
                del headers["ETag"]
        colour = _COLOURS[sha256(key.encode(errors="replace")).digest()[0] % len(_COLOURS)]
        picture = _PICTURE.format(colour=colour, text=escape(text))
        return Response(picture, headers={**headers, "Content-Type": "image/svg+xml"})
