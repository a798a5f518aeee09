"""Pictures of users and rooms: initials on a colour, drawn from the address alone, there is one or not."""

from hashlib import sha256
from html import escape

from starlette.requests import Request
from starlette.responses import Response

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
    "Cache-Control": "public, max-age=3600",
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


def _draw(key: str, text: str) -> Response:
    colour = _COLOURS[sha256(key.encode(errors="replace")).digest()[0] % len(_COLOURS)]
    picture = _PICTURE.format(colour=colour, text=escape(text))
    return Response(picture, headers={**_HEADERS, "Content-Type": "image/svg+xml"})


async def of_user(request: Request) -> Response:
    """/avatar/:username"""
    name = request.path_params["username"].lower()
    return _draw(name, initials(name))


async def of_room(request: Request) -> Response:
    """/avatar/room/:rid. Its name is not for everybody: the picture has none."""
    return _draw(request.path_params["room_id"], "#")
