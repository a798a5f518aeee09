"""/data-export/:id: the archive of somebody's own data, for them alone. Called by `app.py`."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from palaver.blobs import TAKEOUTS
from palaver.errors import LoginRequired, NotFound, Unavailable
from palaver.events import user_actor
from palaver.gateway.ejson import loads
from palaver.gateway.uploads import answer_blob, identify
from palaver.node import Node
from palaver.v1.messaging_pb2 import GetTakeoutRequest


class Takeouts:
    """The ASGI endpoint."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def serve(self, request: Request) -> Response:
        """The archive, which is there for a week. Whose it isn't can't tell it from one that never was."""
        try:
            actor = user_actor(await identify(self._node, request))
            wanted = GetTakeoutRequest(actor=actor, takeout_id=request.path_params["id"])
            takeout = loads((await self._node.services.messaging.get_takeout(wanted)).takeout)
            headers = {
                "Content-Type": "application/zip",
                "Content-Disposition": 'attachment; filename="my-data.zip"',
                "Cache-Control": "private, no-store",
                "ETag": f'"{takeout["_id"]}"',
                "X-Content-Type-Options": "nosniff",
            }
            key = f"{TAKEOUTS}/{takeout['_id']}"
            return await answer_blob(request, self._node.blobs, key, int(takeout["size"]), headers)
        except LoginRequired:
            return PlainTextResponse("Forbidden", 403)
        except NotFound:
            return PlainTextResponse("Not found", 404)
        except Unavailable as error:
            return PlainTextResponse(error.error_reason, 503)
