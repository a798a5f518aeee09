"""DDP as Meteor's own clients speak it: the same session as on /websocket, within SockJS's frames, under /sockjs.

Only the websocket is offered of SockJS's transports, and `/sockjs/info` says so; the others answer a clear error.
Protocol: the facts are those of SockJS 0.3. Assembled by `app.py`.
"""

import re
import secrets
from collections.abc import Iterator

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from palaver.errors import InvalidInput, NotBuilt
from palaver.gateway.ddp.connection import Connection, Transport
from palaver.gateway.ejson import dumps, loads
from palaver.gateway.frames import PING, split_frames, text_frame

is_session = re.compile(r"/sockjs/[^/.]+/[^/.]+/websocket").fullmatch
"""Whether a path is that of a websocket in SockJS's frames: any server's and session's name, without dots."""

RAW_PATH = "/sockjs/websocket"
"""Where SockJS has a websocket without its frames."""

_MAX_MESSAGES = 100  # of a frame: others wait while they are read. Clients send each message in a frame of its own
_CLOSE = 0x8
_OPENED = text_frame(b"o")
_HEARTBEAT = text_frame(b"h")
_NOT_KEPT = {"Cache-Control": "no-store, no-cache, no-transform, must-revalidate, max-age=0"}


class SockJsConnection(Connection):
    """A websocket in SockJS's frames. Whoever writes to it need not know: ready frames are framed anew."""

    __slots__ = ()

    def __init__(self, id: str, transport: Transport, address: str, user_agent: str, now: float) -> None:
        super().__init__(id, transport, address, user_agent, now)
        super().write(_OPENED)

    def write(self, data: bytes) -> None:
        super().write(b"".join(_framed(data)))

    def messages(self, text: str) -> list[str]:
        """A list of messages, or a single one. Raises InvalidInput."""
        if not text:
            return []
        found = loads(text)
        if isinstance(found, str):
            return [found]
        if not isinstance(found, list) or not all(isinstance(message, str) for message in found):
            raise InvalidInput("Not a list of messages")
        if len(found) > _MAX_MESSAGES:
            raise InvalidInput("Too many messages in a frame")
        return found


def _framed(data: bytes) -> Iterator[bytes]:
    """Ready websocket frames as SockJS's: a text as `a["…"]`, a close as `c[code,"reason"]` and itself."""
    if data == PING:
        yield _HEARTBEAT
    for opcode, payload, frame in split_frames(data):
        if opcode == _CLOSE:
            code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")
            yield text_frame(b"c" + orjson.dumps([code, reason]))
            yield frame
        else:
            yield text_frame(b"a[" + orjson.dumps(payload.decode()) + b"]")


# -- what is asked by plain HTTP ---------------------------------------------------------------------------------------


def sockjs_routes() -> list[Route]:
    """Everything under /sockjs but its websockets."""
    return [
        Route("/sockjs", _greet),
        Route("/sockjs/", _greet),
        Route("/sockjs/info", _info, methods=["GET", "OPTIONS"]),
        Route(RAW_PATH, not_upgraded),
        Route("/sockjs/{server}/{session}/websocket", not_upgraded),
        Route("/sockjs/{server}/{session}/{transport}", _not_offered, methods=["GET", "POST", "OPTIONS"]),
    ]


async def _greet(request: Request) -> Response:
    return PlainTextResponse("Welcome to SockJS!\n")


async def _info(request: Request) -> Response:
    """What a client asks first. Any page may: a login is within the session, and no cookie counts."""
    headers = {**_NOT_KEPT, **_cors(request)}
    if request.method == "OPTIONS":
        allowed = {"Access-Control-Allow-Methods": "OPTIONS, GET", "Access-Control-Max-Age": "31536000"}
        return Response(status_code=204, headers={**headers, **allowed})
    body = {"websocket": True, "origins": ["*:*"], "cookie_needed": False, "entropy": secrets.randbits(32)}
    return Response(dumps(body), headers=headers, media_type="application/json")


async def not_upgraded(request: Request) -> Response:
    """The answer to a plain request where there are websockets."""
    return PlainTextResponse('Can "Upgrade" only to "WebSocket".', 400)


async def _not_offered(request: Request) -> Response:
    """SockJS's ways around what keeps websockets from a client."""
    said = "This server offers SockJS's websocket transport alone"
    body = {"success": False, "error": f"{said} [{NotBuilt.code}]", "errorType": NotBuilt.code}
    return Response(dumps(body), 501, headers=_cors(request), media_type="application/json")


def _cors(request: Request) -> dict[str, str]:
    origin = request.headers.get("origin", "")
    if not origin or origin == "null":
        return {"Access-Control-Allow-Origin": "*"}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}
